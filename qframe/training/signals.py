"""Stopping at a safe point: the first signal asks, a second Ctrl-C insists."""

import multiprocessing
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, Self

PATIENCE = 8.0  # seconds: schedulers kill a job some seconds after they have asked it to stop
ASKING = (signal.SIGINT, signal.SIGTERM, *([signal.SIGUSR1] if hasattr(signal, "SIGUSR1") else []))


class Interrupted(BaseException):
    """A signal came within something that can be left at once; no ``Exception``, so that nobody takes it for one."""


class StopSignals:
    """While active, SIGINT, SIGTERM and SIGUSR1 set ``received``; a SIGINT after that raises ``KeyboardInterrupt``.

    A second SIGTERM changes nothing: queues and ``timeout`` send it to a whole group, and a sweep to its jobs as well.

    What changes nothing of the run, such as an evaluation, is left at once. The environments are given some seconds
    to come back from a step or a reset; after that, what they were about is given up.

    Signals reach a process's main thread only; elsewhere this does nothing.

    Args:
        patience: seconds that a step of the environments may still take.
    """

    def __init__(self, patience: float = PATIENCE) -> None:
        self.received: int | None = None
        self.is_stepping = False
        """Whether the environments are stepping: set by who lets them."""
        self.is_lost = False
        """Whether they did not come back from it in time."""
        self._patience, self._is_free = patience, False
        self._earlier: dict[int, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            for number in ASKING:
                self._earlier[number] = signal.signal(number, self._receive)
            self._earlier[signal.SIGALRM] = signal.signal(signal.SIGALRM, self._lose_patience)
        return self

    @contextmanager
    def leaving_at_once(self) -> Iterator[None]:
        """What happens inside changes nothing that a checkpoint holds: a signal leaves it.

        Raises:
            Interrupted: by a signal.
        """
        self._is_free = True
        try:
            if self.received is not None:
                raise Interrupted
            yield
        finally:
            self._is_free = False

    def _receive(self, number: int, frame: FrameType | None) -> None:
        if self.received is not None:
            if number == signal.SIGINT:
                raise KeyboardInterrupt
            return
        self.received = number
        signal.setitimer(signal.ITIMER_REAL, self._patience)
        if self._is_free:
            raise Interrupted

    def _lose_patience(self, number: int, frame: FrameType | None) -> None:
        if self.is_stepping:
            self.is_lost = True
            raise Interrupted
        signal.setitimer(signal.ITIMER_REAL, 1.0)  # a checkpoint is being written, or an update runs

    def __exit__(self, *error: object) -> None:
        if self._earlier:
            signal.setitimer(signal.ITIMER_REAL, 0.0)
        for number, handler in self._earlier.items():
            signal.signal(number, handler)


def kill_children() -> None:
    """End the processes that environments run in, and that do not answer: Python would wait for them."""
    for process in multiprocessing.active_children():
        if process.daemon:
            process.kill()
