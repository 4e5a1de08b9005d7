"""Whether the process that writes a run is still alive; if not, the run will never finish."""

import os
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def this_process() -> dict[str, Any]:
    """The identity of this process: host, number and, on Linux, start time, as numbers are used again.

    >>> is_alive(this_process())
    True
    """
    return {"host": platform.node(), "pid": os.getpid(), "started": _started(os.getpid())}


def is_alive(process: Mapping[str, Any]) -> bool | None:
    """Whether the process that :func:`this_process` described is alive; None if it is on another host or unknown.

    >>> is_alive({"host": "elsewhere", "pid": 1, "started": "7"}) is None
    True
    """
    pid = process.get("pid")
    if process.get("host") != platform.node() or not isinstance(pid, int):
        return None
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:  # another user's
        pass
    return process.get("started") == _started(pid)


def _started(pid: int) -> str | None:
    """When a process started, in clock ticks since the machine started; None without /proc."""
    try:
        state, *fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return None if state == "Z" else fields[18]
    except (OSError, IndexError, ValueError):
        return None
