"""What an environment's own process does with signals: they are its parent's business, and so is its end."""

import ctypes
import os
import signal
import sys
from collections.abc import Callable
from functools import partial
from typing import Any

_DIES_WITH_PARENT = 1  # Linux's PR_SET_PDEATHSIG


def in_worker(make: Callable[[], Any]) -> Callable[[], Any]:
    """``make`` for a vector environment of processes.

    Ctrl-C, ``timeout`` and queues signal a whole group of processes: the one that trains then saves a checkpoint, for
    which it needs its environments. Where it is killed itself, nothing would end them.
    """
    return partial(_make, os.getpid(), make)


def _make(creator: int, make: Callable[[], Any]) -> Any:
    if os.getpid() != creator:
        for number in (signal.SIGINT, signal.SIGTERM, getattr(signal, "SIGUSR1", signal.SIGTERM)):
            signal.signal(number, signal.SIG_IGN)
        if sys.platform == "linux":
            ctypes.CDLL(None).prctl(_DIES_WITH_PARENT, signal.SIGKILL)
        try:
            return make()
        except Exception as error:  # the one that trains sees that this process ended, and not why
            print(f"qframe: the process of an environment: {error}", file=sys.stderr, flush=True)
            raise SystemExit(2) from error
    return make()
