"""The lock of a run's folder: only one process at a time can train in it."""

import json
import os
from pathlib import Path

from qframe.errors import RunError
from qframe.runs.process import this_process

try:
    import fcntl
except ImportError:  # on other systems nothing is locked
    fcntl = None


class RunLocked(RunError):
    """Another process trains in the run's folder."""


class RunLock:
    """A lock that the system releases when its process ends; child processes do not hold it.

    Args:
        folder: of the run.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / ".lock"
        self._file: int | None = None

    def acquire(self) -> None:
        """Take the lock, if this process does not hold it yet.

        Raises:
            RunLocked: another process has it.
        """
        if self._file is not None or fcntl is None:
            return
        self._path.parent.mkdir(parents=True, exist_ok=True)
        file = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as taken:
            holder = os.pread(file, 1000, 0).decode(errors="replace")
            os.close(file)
            raise RunLocked(
                f"the run in {self._path.parent} is being trained by {_named(holder)}; wait for it, or stop it"
            ) from taken
        os.truncate(file, 0)
        os.pwrite(file, json.dumps(this_process()).encode(), 0)
        self._file = file

    def release(self) -> None:
        """Release the lock."""
        if self._file is not None:
            os.close(self._file)
            self._file = None


def _named(holder: str) -> str:
    try:
        process = json.loads(holder)
        return f"process {process['pid']} on {process['host']}"
    except (ValueError, KeyError, TypeError):
        return "another process"
