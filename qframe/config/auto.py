"""What ``auto`` picks: by a fixed rule of sizes and cores, so that it picks the same whatever the machine is doing."""

import os
from collections.abc import Mapping
from typing import Any

import torch

from qframe.compiled.update import missing_compiler

Picked = dict[str, tuple[Any, str]]
"""By key: the value, and why."""

AUTO_NUMBERS = ("runner.threads", "env.num_envs")
"""Numbers that may be ``auto``."""
AUTO_COLLECTOR = {"_target_": "auto"}
"""The node of a collector that is to be picked."""

UPDATES_WORTH_COMPILING = 20_000
"""From how many updates on compiling, some ten seconds, costs less than it saves."""
COSTLY_HEADS = ("Quantile", "Categorical", "HLGauss")
"""Heads whose updates save several times as much."""


COLLECTORS = {False: "qframe.training.Collector", True: "qframe.training.PipelinedCollector"}
"""By whether environments step while the learner updates."""
FRAMES_WORTH_A_WORKER = 100_000
"""From how many frames on a process for the environments, some seconds to start, saves more than it costs."""
MOST_ENVS, MOST_IMAGE_ENVS = 128, 16
"""Beyond them an environment more makes a frame hardly cheaper."""


def resolved(config: Mapping[str, Any]) -> tuple[dict[str, Any], Picked]:
    """The config with a value in place of every ``auto``, and what was picked; ``device`` is picked by itself."""
    config, picked = dict(config), Picked()
    if config.get("compile") == "auto":
        config["compile"], reason = _compile(config)
        picked["compile"] = config["compile"], reason
    for group, key, pick in (("runner", "threads", _threads), ("env", "num_envs", _num_envs)):
        node = config.get(group)
        if isinstance(node, Mapping) and node.get(key) == "auto":
            picked[f"{group}.{key}"] = pick(config)
            config[group] = {**node, key: picked[f"{group}.{key}"][0]}
    if config.get("collector") == AUTO_COLLECTOR:
        is_pipelined, reason = _is_pipelined(config)
        config["collector"] = {"_target_": COLLECTORS[is_pipelined]}
        picked["collector"] = "pipelined" if is_pipelined else "sync", reason
    return config, picked


def pick_device(name: str) -> torch.device:
    """The device of a name; ``auto`` is CUDA where there is one."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return torch.device(name)


def _compile(config: Mapping[str, Any]) -> tuple[bool, str]:
    try:
        frames = config["total_frames"] - config["runner"]["learning_starts"]
        updates = frames // config["runner"]["every"] * config["runner"]["updates"]
        head, algorithm = str(config["head"]["_target_"]), str(config["optimizer"]["algorithm"]["_target_"])
    except (KeyError, TypeError, ZeroDivisionError):  # a fault, which is told elsewhere
        return False, "faulty"
    needed = UPDATES_WORTH_COMPILING // (4 if any(word in head for word in COSTLY_HEADS) else 1)
    if updates < needed:
        return False, f"{updates:,} updates, of {needed:,} that pay for compiling"
    if algorithm.rpartition(".")[2] not in ("Adam", "AdamW", "RMSprop", "SGD"):
        return False, f"{algorithm} is not compiled"
    if pick_device(config.get("device", "cpu")).type == "cuda":
        return False, f"{updates:,} updates would pay for compile=cuda_graph or true: on a GPU choose one by yourself"
    if missing_compiler() is not None:
        return False, f"{updates:,} updates would pay for compiling, but there is no C++ compiler: install g++"
    return True, f"{updates:,} updates"


def _threads(config: Mapping[str, Any]) -> tuple[int, str]:
    cores, images = os.cpu_count() or 1, _sees_images(config)
    if not images:
        return 1, "a small network" if images is False else "faulty"
    return cores, f"a network over images on {cores} cores"


def _num_envs(config: Mapping[str, Any]) -> tuple[int, str]:
    """As many as there are frames between two rounds of updates: then a step of all of them is a round."""
    try:
        every, most = int(config["runner"]["every"]), MOST_IMAGE_ENVS if _sees_images(config) else MOST_ENVS
    except (KeyError, TypeError, ValueError):  # a fault, which is told elsewhere
        return 1, "faulty"
    return max(1, min(every, most)), f"{every:,} frames between rounds of updates, at most {most} environments"


def _is_pipelined(config: Mapping[str, Any]) -> tuple[bool, str]:
    cores, frames = os.cpu_count() or 1, config.get("total_frames")
    if not isinstance(frames, int):  # a fault, which is told elsewhere
        return False, "faulty"
    if cores == 1:
        return False, "one core"
    if frames < FRAMES_WORTH_A_WORKER:
        return False, f"{frames:,} frames, of {FRAMES_WORTH_A_WORKER:,} that pay for a process of their own"
    return True, f"{frames:,} frames on {cores} cores"


def _sees_images(config: Mapping[str, Any]) -> bool | None:
    """Whether the network goes over images; None where there is no such thing, which is told elsewhere.

    A convolution that skips no pixel is one over a small grid, whose work is too little to share.
    """
    try:
        trunk = config["trunk"]
        name, strides = str(trunk["_target_"]), trunk.get("strides")
    except (KeyError, TypeError, AttributeError):
        return None
    is_grid = isinstance(strides, list | tuple) and all(stride == 1 for stride in strides)
    return ("Conv" in name and not is_grid) or "Impala" in name
