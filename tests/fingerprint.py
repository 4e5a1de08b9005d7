"""Fingerprints of runs: equal if two runs are the same, bit for bit, apart from the time that they took."""

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from qframe.checkpoints.load import load_checkpoint
from qframe.replay.pages import Pages
from qframe.runs.folder import RunFolder

TIMED = ("seconds", "evaluation_seconds", "logger")
"""Entries of a checkpoint that depend on the time a run took."""


def fingerprint(path: Path) -> dict[str, str]:
    """The hash of each part of a run's newest checkpoint, and of its metrics.

    It covers networks, optimizer moments, replay rows with their priorities and open windows, generators, running
    episodes, schedules and counters; not seconds.

    Args:
        path: the run's folder.
    """
    folder = RunFolder(path)
    state = load_checkpoint(folder.checkpoints)
    state["run"] = {key: value for key, value in state["run"].items() if key not in TIMED}
    hashes = {part: digest(state[part]) for part in state if part != "name"}
    return hashes | {"metrics": digest(metrics(folder.metrics_file))}


def metrics(path: Path) -> list[dict[str, Any]]:
    """The lines of ``metrics.jsonl`` without times."""
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    timed = ("frames_per_second", "wall_seconds")
    return [{key: value for key, value in line.items() if key.rpartition("/")[2] not in timed} for line in lines]


def digest(content: Any) -> str:
    """A hash of nested containers, tensors and plain values."""
    hasher = hashlib.blake2b(digest_size=16)
    _add(hasher, content)
    return hasher.hexdigest()


def _add(hasher: Any, content: Any) -> None:
    if isinstance(content, Pages):
        _add(hasher, {"written": content.written, "clock": content.clock})
        for page in content.numbers():
            _add(hasher, content.read(page))
    elif isinstance(content, Tensor):
        hasher.update(f"{content.dtype}{list(content.shape)}".encode())
        hasher.update(np.ascontiguousarray(content.detach().cpu().numpy()).tobytes())
    elif isinstance(content, dict):
        for key in content:
            hasher.update(repr(key).encode())
            _add(hasher, content[key])
    elif isinstance(content, list | tuple):
        hasher.update(f"{len(content)}[".encode())
        for entry in content:
            _add(hasher, entry)
    else:
        hasher.update(repr(content).encode())
