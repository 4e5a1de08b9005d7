"""The state of a run outside its parts: its wall time, its recent returns and its best network."""

import time
from collections import deque
from collections.abc import Sequence
from typing import Any

import numpy as np
from torch import Tensor

from qframe.training.evaluation import EvaluationResult


class RunState:
    """The wall time, the recent training returns and the best network of a run.

    Args:
        seed: the run's seed.
        started: when the process or job started, on ``time.monotonic``'s clock.
    """

    def __init__(self, seed: int, started: float) -> None:
        self.seed, self._started = seed, started
        self.best: dict[str, Any] = {"frames": 0, "eval_return": float("-inf")}
        """The best ``network`` so far, the ``frames`` it was trained for and its ``eval_return``; frames 0 and no
        network before the first evaluation."""
        self.logged = 0
        """The frame of the last log."""
        self._recent_returns: deque[float] = deque(maxlen=100)
        self._earlier_seconds = 0.0
        self._mark = (time.monotonic(), 0)

    def start(self, frames: int) -> None:
        """Measure frames per second from this frame on."""
        self._mark = (time.monotonic(), frames)

    @property
    def wall_seconds(self) -> float:
        """Seconds in all processes of this run."""
        return round(self._earlier_seconds + time.monotonic() - self._started, 3)

    @property
    def train_return(self) -> float | None:
        """The mean return of the last 100 training episodes; None before the first one has ended."""
        return float(np.mean(self._recent_returns)) if self._recent_returns else None

    def log(self, frames: int, returns: Sequence[float]) -> float:
        """Add the returns since the last log.

        Returns:
            The frames per second since then.
        """
        self._recent_returns.extend(returns)
        then, frames_then = self._mark
        self._mark, self.logged = (time.monotonic(), frames), frames
        return (frames - frames_then) / max(self._mark[0] - then, 1e-9)

    def keep_best(self, frames: int, result: EvaluationResult, network: dict[str, Tensor]) -> bool:
        """Keep a copy of the parameters of a network that is at least as good as the best one so far.

        Returns:
            Whether it was kept.
        """
        is_best = result.mean >= self.best["eval_return"]
        if is_best:
            copy = {name: value.detach().clone() for name, value in network.items()}
            self.best = {"frames": frames, "eval_return": result.mean, "network": copy}
        return is_best

    def progress(self, frames: int, updates: int) -> dict[str, Any]:
        """The entries of the summary that are known before the final evaluation."""
        seconds = self.wall_seconds
        return {
            "seed": self.seed,
            "frames": frames,
            "updates": updates,
            "wall_seconds": seconds,
            "frames_per_second": round(frames / max(seconds, 1e-3), 1),
            "train_return_mean": self.train_return,
        }

    def state_dict(self) -> dict[str, Any]:
        """Everything but the best network, which is saved as a part of its own."""
        return {"seconds": self.wall_seconds, "recent_returns": list(self._recent_returns), "logged": self.logged}

    def load_state_dict(self, state: dict[str, Any], best: dict[str, Any]) -> None:
        """Resume from ``state``."""
        self._earlier_seconds, self.logged, self.best = state["seconds"], state["logged"], best
        self._recent_returns.extend(state["recent_returns"])
