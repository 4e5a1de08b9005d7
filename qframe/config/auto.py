"""What ``auto`` picks: by a fixed rule of sizes and cores, so that it picks the same whatever the machine is doing."""

import os
from collections.abc import Mapping
from typing import Any

from qframe.runner.compiled import missing_compiler

Picked = dict[str, tuple[Any, str]]
"""By key: the value, and why."""

UPDATES_WORTH_COMPILING = 20_000
"""From how many updates on compiling, some ten seconds, costs less than it saves."""
COSTLY_HEADS = ("Quantile", "Categorical", "HLGauss")
"""Heads whose updates save several times as much."""


def resolved(config: Mapping[str, Any]) -> tuple[dict[str, Any], Picked]:
    """The config with a value in place of every ``auto``, and what was picked; ``device`` is picked by itself."""
    picked: Picked = {}
    if config.get("compile") == "auto":
        picked["compile"] = _compile(config)
    runner = config.get("runner")
    if isinstance(runner, Mapping) and runner.get("threads") == "auto":
        picked["runner.threads"] = _threads(config)
        config = {**config, "runner": {**runner, "threads": picked["runner.threads"][0]}}
    return {**config, **({"compile": picked["compile"][0]} if "compile" in picked else {})}, picked


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
    if missing_compiler() is not None:
        return False, f"{updates:,} updates would pay for compiling, but there is no C++ compiler: install g++"
    return True, f"{updates:,} updates"


def _threads(config: Mapping[str, Any]) -> tuple[int, str]:
    cores = os.cpu_count() or 1
    try:
        trunk = str(config["network"]["trunk"]["_target_"])
    except (KeyError, TypeError):  # a fault, which is told elsewhere
        return 1, "faulty"
    if "Conv" in trunk or "Impala" in trunk:
        return cores, f"a network over images on {cores} cores"
    return 1, "a small network"
