"""Statistics of training episodes: their returns and lengths."""

import statistics
from collections import deque
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray


class EpisodeStatistics:
    """Returns and lengths of the training episodes that have ended since the last call of ``take``.

    Args:
        num_envs: E.
    """

    def __init__(self, num_envs: int) -> None:
        self.running_return = np.zeros(num_envs)
        """Of each environment's running episode, ``[E]``."""
        self._running_length = np.zeros(num_envs, dtype=np.int64)
        self.returns: list[float] = []
        self.lengths: list[int] = []

    def add(self, reward: NDArray[np.floating], done: NDArray[np.bool_], valid: NDArray[np.bool_] | None) -> None:
        """Count one step of every environment, ``[E]`` each; ``valid`` is False where one only reset itself."""
        self.running_return += reward if valid is None else reward * valid
        self._running_length += 1 if valid is None else valid
        if done.any():
            self.returns += self.running_return[done].tolist()
            self.lengths += self._running_length[done].tolist()
            self.running_return[done] = 0
            self._running_length[done] = 0

    def take(self) -> tuple[list[float], list[int]]:
        """The returns and lengths of the episodes that have ended; they are then forgotten."""
        finished = self.returns, self.lengths
        self.returns, self.lengths = [], []
        return finished

    def abandon(self) -> None:
        """Forget the running episodes."""
        self.running_return[:], self._running_length[:] = 0, 0

    def state_dict(self) -> dict[str, Any]:
        """The running episodes, and those not yet taken."""
        running = {"return": self.running_return.tolist(), "length": self._running_length.tolist()}
        return {"running": running, "returns": self.returns, "lengths": self.lengths}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Resume from ``state``."""
        self.running_return[:], self._running_length[:] = state["running"]["return"], state["running"]["length"]
        self.returns, self.lengths = list(state["returns"]), list(state["lengths"])


class RecentEpisodes:
    """The running mean of the returns of the last 100 training episodes, and the longest of all, as of the last log."""

    def __init__(self) -> None:
        self._returns: deque[float] = deque(maxlen=100)
        self.longest = 0
        """Steps of the longest training episode."""

    @property
    def mean_return(self) -> float | None:
        """The mean of their returns; None before the first episode has ended."""
        return float(statistics.mean(self._returns)) if self._returns else None

    def add(self, returns: Sequence[float], lengths: Sequence[int]) -> None:
        """Add the episodes that have ended since the last call."""
        self._returns.extend(returns)
        self.longest = max(self.longest, *lengths, 0)

    def state_dict(self) -> dict[str, Any]:
        """The returns and the length."""
        return {"returns": list(self._returns), "longest": self.longest}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Resume from ``state``."""
        self._returns.extend(state["returns"])
        self.longest = state["longest"]
