"""The lock of a folder: one process at a time trains in a run's folder, or runs the jobs of a sweep."""

import json
import os
from pathlib import Path
from typing import Self

from qframe.errors import RunError
from qframe.runs.process import this_process

try:
    import fcntl
except ImportError:  # on other systems nothing is locked
    fcntl = None


class Locked(RunError):
    """Another process holds the lock."""


class FolderLock:
    """A lock that the system releases when its process ends; child processes do not hold it.

    Args:
        file: that is locked; created with its folder. None locks nothing.
        use: what the holder does, for the message.
    """

    def __init__(self, file: Path | None, use: str) -> None:
        self._path, self._use = file, use
        self._file: int | None = None

    def acquire(self) -> None:
        """Take the lock, if this process does not hold it yet.

        Raises:
            Locked: another process has it.
        """
        if self._file is not None or fcntl is None or self._path is None:
            return
        self._path.parent.mkdir(parents=True, exist_ok=True)
        file = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as taken:
            holder = os.pread(file, 1000, 0).decode(errors="replace")
            os.close(file)
            raise Locked(f"{self._use} by {_named(holder)}; wait for it, stop it, or choose another folder") from taken
        os.truncate(file, 0)
        os.pwrite(file, json.dumps(this_process()).encode(), 0)
        self._file = file

    def release(self) -> None:
        """Release the lock."""
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def __enter__(self) -> Self:
        self.acquire()
        return self

    def __exit__(self, *_: object) -> None:
        self.release()


def _named(holder: str) -> str:
    try:
        process = json.loads(holder)
        return f"process {process['pid']} on {process['host']}"
    except (ValueError, KeyError, TypeError):
        return "another process"
