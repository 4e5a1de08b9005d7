"""``metrics.jsonl``: one JSON object per log."""

import json
import os
from collections.abc import Mapping
from pathlib import Path


class MetricsFile:
    """Appends the metrics of a run to a file, one JSON object with its ``frames`` per line.

    Args:
        path: the file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    @property
    def size(self) -> int:
        """Its size in bytes; 0 before the first log."""
        return self._path.stat().st_size if self._path.is_file() else 0

    def open(self, size: int) -> bool:
        """Cut the file to its first ``size`` bytes, and before a line that a crash cut off.

        Returns:
            Whether it was longer.
        """
        self._path.parent.mkdir(parents=True, exist_ok=True)
        if not self._path.is_file():
            return False
        is_longer = self.size > size
        if is_longer:
            os.truncate(self._path, size)
        whole = self._path.read_bytes()
        if not whole.endswith(b"\n"):
            os.truncate(self._path, whole.rfind(b"\n") + 1)
        return is_longer

    def log(self, frames: int, values: Mapping[str, float]) -> None:
        """Append a line; one that a full disk cuts off is removed, so that no other is appended to it."""
        size = self.size
        try:
            with self._path.open("a") as file:
                file.write(json.dumps({"frames": frames, **values}) + "\n")
        except OSError:
            if self._path.is_file():
                os.truncate(self._path, size)
            raise

    def flush(self) -> None:
        """Wait until every line is on disk."""
        if self._path.is_file():
            with self._path.open("a") as file:
                os.fsync(file.fileno())
