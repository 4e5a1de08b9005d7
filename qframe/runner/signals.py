"""Stopping at a safe point: the first signal asks, the second insists."""

import signal
import threading
from types import FrameType
from typing import Any, Self


class StopSignals:
    """While active, SIGINT and SIGTERM set ``received``; a SIGINT after that raises ``KeyboardInterrupt`` at once.

    A second SIGTERM changes nothing: queues and ``timeout`` send it to a whole group, and a sweep to its jobs as well.

    Signals reach a process's main thread only; elsewhere this does nothing.
    """

    def __init__(self) -> None:
        self.received: int | None = None
        self._earlier: dict[int, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._earlier[number] = signal.signal(number, self._receive)
        return self

    def _receive(self, number: int, frame: FrameType | None) -> None:
        if self.received is not None and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.received = self.received or number

    def __exit__(self, *error: object) -> None:
        for number, handler in self._earlier.items():
            signal.signal(number, handler)


class Stopped(Exception):
    """A run that a signal stopped after a checkpoint was written.

    Args:
        number: the signal.
        message: what was saved and how to go on.
    """

    def __init__(self, number: int, message: str) -> None:
        super().__init__(message)
        self.exit_status = 128 + number
