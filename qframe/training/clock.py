"""The wall time of a run, over all the processes that trained it."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


class Clock:
    """Counts seconds and frames per second.

    Args:
        started: when the process or job started, on ``time.monotonic``'s clock; None: now.
    """

    def __init__(self, started: float | None = None) -> None:
        self._started = time.monotonic() if started is None else started
        self._earlier_seconds = 0.0
        self._lap = (time.monotonic(), 0)
        self.evaluation_seconds = 0.0
        """Seconds of all evaluations."""

    @property
    def wall_seconds(self) -> float:
        """Seconds in all processes of this run."""
        return round(self._earlier_seconds + time.monotonic() - self._started, 3)

    def lap(self, frames: int) -> float:
        """The frames per second since the last call."""
        (then, frames_then), self._lap = self._lap, (time.monotonic(), frames)
        return (frames - frames_then) / max(self._lap[0] - then, 1e-9)

    def pause(self, seconds: float) -> None:
        """Leave these seconds out of the frames per second, and so out of the time that a run is expected to take."""
        self._lap = (self._lap[0] + seconds, self._lap[1])

    @contextmanager
    def evaluating(self) -> Iterator[None]:
        """Count the seconds of a block as evaluation."""
        started = time.monotonic()
        try:
            yield
        finally:
            self.evaluation_seconds += time.monotonic() - started

    def state_dict(self) -> dict[str, Any]:
        """The seconds so far."""
        return {"seconds": self.wall_seconds, "evaluation_seconds": self.evaluation_seconds}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Resume from ``state``."""
        self._earlier_seconds, self.evaluation_seconds = state["seconds"], state["evaluation_seconds"]
