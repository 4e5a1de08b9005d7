"""Stopping before the last frame: when it is good enough, takes too long, or gets no better."""

from typing import Any


class EarlyStop:
    """Ends a run before ``total_frames``, as finished; each reason by choice, None never.

    Args:
        eval_return: a periodic evaluation that reaches this is good enough.
        wall_seconds: time of training, earlier processes of the run counted; looked at when it logs.
        patience: evaluations in a row that are not better than the best before them.

    Raises:
        ValueError: a time or a number of evaluations that is not positive.

    >>> stop = EarlyStop(patience=2)
    >>> for frames, mean in ((1_000, 5.0), (2_000, 4.0), (3_000, 5.0)):
    ...     stop.judge(frames, mean)
    >>> stop.reason
    'no better evaluation than 5.0 in the last 2, at 3,000 frames'
    """

    def __init__(
        self, *, eval_return: float | None = None, wall_seconds: float | None = None, patience: int | None = None
    ) -> None:
        if wall_seconds is not None and wall_seconds <= 0:
            raise ValueError(f"expected wall_seconds above 0, got {wall_seconds}; null for no limit")
        if patience is not None and patience < 1:
            raise ValueError(f"expected a patience of at least 1 evaluation, got {patience}; null for no end of it")
        self.eval_return, self.wall_seconds, self.patience = eval_return, wall_seconds, patience
        self.reason: str | None = None
        """Why the run is to end; None while it is to go on."""
        self._best: float | None = None
        self._worse = 0  # evaluations since the best
        self._last: tuple[int, float] | None = None

    def judge(self, frames: int, mean: float) -> None:
        """Take note of an evaluation.

        Args:
            frames: when.
            mean: return.
        """
        is_better = self._best is None or mean > self._best
        self._best, self._worse = (mean, 0) if is_better else (self._best, self._worse + 1)
        self._last = (frames, mean)
        self._decide()

    def look_at_time(self, seconds: float) -> None:
        """Take note of the time of training so far."""
        if self.wall_seconds is not None and seconds >= self.wall_seconds:
            self.reason = f"{seconds:.0f} s of training, of {self.wall_seconds:g} allowed"

    def _decide(self) -> None:
        if self._last is None:
            return
        frames, mean = self._last
        if self.eval_return is not None and mean >= self.eval_return:
            self.reason = f"evaluation {mean:.1f} reached {self.eval_return:g} at {frames:,} frames"
        elif self.patience is not None and self._worse >= self.patience:
            self.reason = f"no better evaluation than {self._best:.1f} in the last {self._worse}, at {frames:,} frames"

    def state_dict(self) -> dict[str, Any]:
        """The evaluations so far, as far as they matter."""
        return {"best": self._best, "worse": self._worse, "last": self._last}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from ``state``; whether to end is decided by what is allowed now."""
        self._best, self._worse, self._last = state["best"], state["worse"], state["last"]
        self._decide()
