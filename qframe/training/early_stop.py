"""Early stopping: at a return, after a time, or when evaluations no longer improve."""

from typing import Any

from qframe.formatting import format_score


class EarlyStop:
    """Ends a run before ``total_frames``, as finished. A criterion that is None never ends it.

    Args:
        eval_return: the return of a periodic evaluation at which the run ends.
        wall_seconds: seconds of training, including those of earlier processes; checked at every log.
        patience: consecutive evaluations without a new best one after which the run ends.

    Raises:
        ValueError: a time or a number of evaluations that is not positive.

    >>> stop = EarlyStop(patience=2)
    >>> for frames, mean in ((1_000, 5.0), (2_000, 4.0), (3_000, 5.0)):
    ...     stop.add_evaluation(frames, mean)
    >>> stop.reason
    'no evaluation above 5.00 in the last 2, at 3,000 frames'
    """

    def __init__(
        self, *, eval_return: float | None = None, wall_seconds: float | None = None, patience: int | None = None
    ) -> None:
        if wall_seconds is not None and wall_seconds <= 0:
            raise ValueError(f"expected wall_seconds above 0, got {wall_seconds}; set null for no limit")
        if patience is not None and patience < 1:
            raise ValueError(f"expected patience of at least 1 evaluation, got {patience}; set null for no limit")
        self.eval_return, self.wall_seconds, self.patience = eval_return, wall_seconds, patience
        self.reason: str | None = None
        """Why the run ends; None while it continues."""
        self._best: float | None = None
        self._worse = 0  # evaluations since the best
        self._last: tuple[int, float] | None = None

    @property
    def evaluated_at(self) -> int | None:
        """The frame of the last evaluation; None before the first."""
        return None if self._last is None else self._last[0]

    def add_evaluation(self, frames: int, mean: float) -> None:
        """Add the mean return of the evaluation at this frame."""
        is_better = self._best is None or mean > self._best
        self._best, self._worse = (mean, 0) if is_better else (self._best, self._worse + 1)
        self._last = (frames, mean)
        self._decide()

    def set_seconds(self, seconds: float) -> None:
        """Set the seconds of training so far."""
        if self.wall_seconds is not None and seconds >= self.wall_seconds:
            self.reason = f"{seconds:.0f} s of training reached the limit of {self.wall_seconds:g} s"

    def _decide(self) -> None:
        if self._last is None:
            return
        frames, mean = self._last
        if self.eval_return is not None and mean >= self.eval_return:
            self.reason = f"evaluation {format_score(mean)} reached {self.eval_return:g} at {frames:,} frames"
        elif self.patience is not None and self._worse >= self.patience:
            best = format_score(self._best)
            self.reason = f"no evaluation above {best} in the last {self._worse}, at {frames:,} frames"

    def state_dict(self) -> dict[str, Any]:
        """The best and the last evaluation, and the number of evaluations since the best."""
        return {"best": self._best, "worse": self._worse, "last": self._last}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Resume from ``state``; the criteria are those of this run, not of the saved one."""
        self._best, self._worse, self._last = state["best"], state["worse"], state["last"]
        self._decide()
