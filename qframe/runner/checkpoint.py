"""Checkpoints: the whole state of a run as tensors and plain values, written under a temporary name and renamed."""

import os
from pathlib import Path
from typing import Any

import torch

FORMAT = 1
"""The version of the checkpoint's layout; another one is refused with its number."""


class Checkpoints:
    """The last and the best checkpoint of a run.

    ``last.pt`` holds everything that resuming needs, the replay included; ``best.pt`` holds the network of the best
    evaluation.

    Args:
        every: frames between checkpoints.

    Raises:
        ValueError: ``every`` below 1.
    """

    def __init__(self, *, every: int) -> None:
        if every < 1:
            raise ValueError(f"expected every of at least 1 frame, got {every}")
        self.every = every

    def save(self, path: Path, state: dict[str, Any]) -> None:
        """Write a checkpoint; an interrupted write leaves the earlier one whole."""
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(path.name + ".tmp")
        with temporary.open("wb") as file:
            torch.save({"format": FORMAT, **state}, file)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)


def load_checkpoint(path: Path, device: torch.device | str = "cpu") -> dict[str, Any]:
    """Read a checkpoint; only tensors and plain values are loaded, never pickled objects.

    Raises:
        ValueError: no such file, a damaged one, or one of another format.
    """
    if not path.is_file():
        raise ValueError(f"expected a checkpoint at {path}, found none; was the run stopped before its first one?")
    try:
        state = torch.load(path, map_location=device, weights_only=True)
    except Exception as damage:
        reason = next(iter(str(damage).splitlines()), type(damage).__name__).split(". ")[0]
        raise ValueError(f"expected a readable checkpoint at {path}, got a damaged one ({reason})") from damage
    found = state.get("format") if isinstance(state, dict) else type(state).__name__
    if found != FORMAT:
        raise ValueError(f"expected a checkpoint of format {FORMAT} at {path}, got format {found}")
    return state
