"""Signals: the first one stops a run at a safe point with a checkpoint, a second Ctrl-C stops it at once."""

import multiprocessing
import signal
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, Self

PATIENCE = 8.0  # seconds: schedulers kill a job some seconds after they have asked it to stop
STOP_SIGNALS = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1") if hasattr(signal, name)
)


class Interrupted(BaseException):
    """A signal was received; not an ``Exception``, so that no handler of exceptions catches it."""


class StopSignals:
    """While active, the first of ``STOP_SIGNALS`` sets ``received``; a SIGINT after that raises ``KeyboardInterrupt``.

    A second SIGTERM changes nothing: queues and ``timeout`` send it to a whole process group, and a sweep to its jobs.

    Work that leaves the run unchanged, such as an evaluation, is interrupted at once. Environments may take
    ``patience`` seconds to complete a step or a reset; after that, the step is given up.

    Only a process's main thread receives signals; in another thread this does nothing.

    Args:
        patience: seconds that a step of the environments may still take.
    """

    def __init__(self, patience: float = PATIENCE) -> None:
        self.received: int | None = None
        self.is_stepping = False
        """Whether the environments are taking a step, which is interrupted after ``patience`` seconds."""
        self.is_lost = False
        """Whether the environments did not complete a step, so that the run is between two states."""
        self._patience = patience
        self._is_interruptible = False
        self._earlier: dict[int, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            for number in STOP_SIGNALS:
                if number == signal.SIGINT or signal.getsignal(number) != signal.SIG_IGN:  # as nohup ignores SIGHUP
                    self._earlier[number] = signal.signal(number, self._receive)
            self._earlier[signal.SIGALRM] = signal.signal(signal.SIGALRM, self._lose_patience)
        return self

    def check(self) -> None:
        """Stop here, at a safe point, if a signal was received.

        Raises:
            Interrupted: a signal was received.
        """
        if self.received is not None:
            raise Interrupted

    def has_any(self) -> bool:
        """Whether a signal was received."""
        return self.received is not None

    @contextmanager
    def interruptible(self) -> Iterator[None]:
        """A block that leaves the run's state unchanged, so that a signal may interrupt it.

        Raises:
            Interrupted: a signal was received before or during the block.
        """
        self._is_interruptible = True
        try:
            self.check()
            yield
        finally:
            self._is_interruptible = False

    def _receive(self, number: int, frame: FrameType | None) -> None:
        if self.received is not None:
            if number == signal.SIGINT:
                raise KeyboardInterrupt
            return
        self.received = number
        signal.setitimer(signal.ITIMER_REAL, self._patience)
        if self._is_interruptible:
            raise Interrupted

    def _lose_patience(self, number: int, frame: FrameType | None) -> None:
        if self.is_stepping:
            self.is_lost = True
            raise Interrupted
        signal.setitimer(signal.ITIMER_REAL, 1.0)  # a checkpoint is being written, or an update is running

    def __exit__(self, *error: object) -> None:
        if self._earlier:
            signal.setitimer(signal.ITIMER_REAL, 0.0)
        for number, handler in self._earlier.items():
            signal.signal(number, handler)


class SharedSignals(StopSignals):
    """The signals of one of several processes that stop after the same step: ``received`` is set once all know of it.

    Work that this process does alone, such as an evaluation, and a step of its environments are interrupted as before.
    """

    def __init__(self, patience: float = PATIENCE) -> None:
        super().__init__(patience)
        self.own = 0
        """The signal that this process has received; 0 if none."""

    def agree(self, numbers: Iterable[int]) -> None:
        """Receive the signal of the first process that has one; ``numbers`` are their ``own``."""
        self.received = next((number for number in numbers if number), None)

    def has_any(self) -> bool:
        self.received = self.received or self.own or None
        return self.received is not None

    def _receive(self, number: int, frame: FrameType | None) -> None:
        if self.own:
            if number == signal.SIGINT:
                raise KeyboardInterrupt
            return
        self.own = number
        signal.setitimer(signal.ITIMER_REAL, self._patience)
        if self._is_interruptible:
            self.received = number
            raise Interrupted

    def _lose_patience(self, number: int, frame: FrameType | None) -> None:
        if self.is_stepping:
            self.received = self.own
        super()._lose_patience(number, frame)


def kill_children() -> None:
    """Kill the processes of environments that do not answer; Python would wait for them at exit."""
    for process in multiprocessing.active_children():
        if process.daemon:
            process.kill()
