"""The values that ``auto`` picks: by fixed rules from sizes and the number of cores, never from the machine's load."""

import os
from collections.abc import Mapping
from typing import Any

import torch

from qframe.config.schema import AUTO_COLLECTOR
from qframe.config.targets import resolve
from qframe.errors import ConfigError
from qframe.machine.native_code import missing_compiler
from qframe.optimizer.pure_steps import STEPS

Picked = dict[str, tuple[Any, str]]
"""The value and the reason, by key."""

FAULTY = (ConfigError, KeyError, TypeError, ValueError, AttributeError, ZeroDivisionError)
"""Raised while a faulty config is read; the fault is reported elsewhere."""
UPDATES_WORTH_COMPILING = 20_000
"""Compiling takes about ten seconds; from this many updates on it saves more."""
COLLECTORS = {False: "qframe.training.Collector", True: "qframe.training.PipelinedCollector"}
"""By whether environments step while the learner updates."""
FRAMES_WORTH_A_WORKER = 100_000
"""A process for the environments takes seconds to start; from this many frames on it saves more."""
MOST_ENVS, MOST_IMAGE_ENVS = 128, 16
"""Beyond these, more environments hardly make a frame cheaper."""
USUAL_ROUND = 8, 4
"""Frames between rounds of updates and updates in a round, of a replay that fixes neither."""


def resolved(config: Mapping[str, Any]) -> tuple[dict[str, Any], Picked]:
    """The config with a value for every ``auto``, and the values picked; :func:`pick_device` picks ``device``."""
    config, picked = dict(config), Picked()
    picks = ("env", "num_envs", _num_envs), ("runner", "every", _every), ("runner", "updates", _updates)
    for group, key, pick in (("runner", "threads", _threads), *picks):
        node = config.get(group)
        if isinstance(node, Mapping) and node.get(key) == "auto":
            picked[f"{group}.{key}"] = pick(config)
            config[group] = {**node, key: picked[f"{group}.{key}"][0]}
    if config.get("compile") == "auto":
        config["compile"], reason = _compile(config)
        picked["compile"] = config["compile"], reason
    if config.get("collector") == AUTO_COLLECTOR:
        is_pipelined, reason = _is_pipelined(config)
        config["collector"] = {"_target_": COLLECTORS[is_pipelined]}
        picked["collector"] = "pipelined" if is_pipelined else "sync", reason
    return config, picked


def for_images(picked: Picked, config: Mapping[str, Any]) -> Picked:
    """The numbers to pick instead for a network that encodes images, which only the observation space shows."""
    cores, again = _cores(config), Picked()
    if "runner.threads" in picked:
        again["runner.threads"] = cores, f"a network over images on {cores} cores"
    if "env.num_envs" in picked and picked["env.num_envs"][0] > MOST_IMAGE_ENVS:
        again["env.num_envs"] = MOST_IMAGE_ENVS, f"at most {MOST_IMAGE_ENVS} environments with images"
    return again


def pick_device(name: str) -> torch.device:
    """The device of this name; ``auto`` is CUDA if available, else the CPU."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return torch.device(name)


def _compile(config: Mapping[str, Any]) -> tuple[bool, str]:
    if workers_of(config) > 1:
        return False, "of several learners; set compile=true yourself"
    try:
        frames = config["total_frames"] - config["runner"]["learning_starts"]
        updates = frames // config["runner"]["every"] * config["runner"]["updates"]
        head: Any = resolve(config["head"]["_target_"])
        algorithm: Any = resolve(config["optimizer"]["algorithm"]["_target_"])
    except FAULTY:
        return False, "faulty"
    needed = UPDATES_WORTH_COMPILING // getattr(head, "update_cost", 1)
    if updates < needed:
        return False, f"{updates:,} updates; compiling pays from {needed:,} on"
    if algorithm not in STEPS:
        return False, f"{algorithm.__name__} cannot be compiled"
    if pick_device(config.get("device", "cpu")).type == "cuda":
        return False, f"{updates:,} updates would pay for compiling; on a GPU, set compile=cuda_graph or true yourself"
    if missing_compiler() is not None:
        return False, f"{updates:,} updates would pay for compiling, but there is no C++ compiler: install g++"
    return True, f"{updates:,} updates"


def _cores(config: Mapping[str, Any]) -> int:
    """The cores of each of the processes that learn."""
    return max(1, (os.cpu_count() or 1) // workers_of(config))


def workers_of(config: Mapping[str, Any]) -> int:
    """The number of processes that learn; 1 for a faulty one, which is reported elsewhere."""
    node = config.get("learner")
    workers = node.get("workers", 1) if isinstance(node, Mapping) else 1
    return max(1, workers) if isinstance(workers, int) else 1


def _threads(config: Mapping[str, Any]) -> tuple[int, str]:
    cores, images = _cores(config), _sees_images(config)
    if not images:
        return 1, "a small network" if images is False else "faulty"
    return cores, f"a network over images on {cores} cores"


def _num_envs(config: Mapping[str, Any]) -> tuple[int, str]:
    """One environment per frame between two rounds of updates, so that one step of all of them makes a round."""
    try:
        every, most = int(config["runner"]["every"]), MOST_IMAGE_ENVS if _sees_images(config) else MOST_ENVS
    except FAULTY:
        return 1, "faulty"
    return max(1, min(every, most)), f"{every:,} frames between rounds of updates, at most {most} environments"


def _round(config: Mapping[str, Any]) -> tuple[tuple[int, int], str]:
    """Frames and updates of a round, as the replay fixes them."""
    try:
        replay: Any = resolve(config["replay"]["_target_"])
        if not hasattr(replay, "round_of"):
            return USUAL_ROUND, "the usual one"
        return replay.round_of(config["replay"], config["env"]["num_envs"]), "one round for each rollout"
    except FAULTY:
        return USUAL_ROUND, "faulty"


def _every(config: Mapping[str, Any]) -> tuple[int, str]:
    (frames, _), reason = _round(config)
    return frames, reason


def _updates(config: Mapping[str, Any]) -> tuple[int, str]:
    (_, updates), reason = _round(config)
    return updates, reason


def _is_pipelined(config: Mapping[str, Any]) -> tuple[bool, str]:
    cores, frames = _cores(config), config.get("total_frames")
    if not isinstance(frames, int):  # a fault, which is reported elsewhere
        return False, "faulty"
    if cores == 1:
        return False, "one core" if (os.cpu_count() or 1) == 1 else "one core for each learner"
    if frames < FRAMES_WORTH_A_WORKER:
        return False, f"{frames:,} frames; a separate process pays from {FRAMES_WORTH_A_WORKER:,} on"
    return True, f"{frames:,} frames on {cores} cores"


def _sees_images(config: Mapping[str, Any]) -> bool | None:
    """Whether the network processes images; None if its trunk has a fault."""
    try:
        node = config["trunk"]
        trunk: Any = resolve(node["_target_"])
        return trunk.is_costly(node) if hasattr(trunk, "is_costly") else False
    except FAULTY:
        return None
