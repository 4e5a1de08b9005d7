"""The names of checkpoints: their frame, and a number where a frame was saved before."""

import re
from pathlib import Path

CHECKPOINT = re.compile(r"(\d{12})(?:-(\d+))?")


def checkpoints_in(folder: Path) -> list[Path]:
    """The checkpoints in a folder, whole or damaged, oldest first."""
    found = [path for path in folder.iterdir() if CHECKPOINT.fullmatch(path.name)] if folder.is_dir() else []
    return sorted(found, key=lambda path: order(path.name))


def order(name: str) -> tuple[int, int]:
    match = CHECKPOINT.fullmatch(name)
    assert match is not None
    return int(match[1]), int(match[2] or 0)
