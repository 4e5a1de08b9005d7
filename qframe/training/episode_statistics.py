"""Statistics of training episodes: their returns and lengths, and the range of their discounted returns."""

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


class ReturnRange:
    """The lowest and the highest discounted return from any step of the finished episodes.

    A categorical head has a fixed support, and moves returns outside of it to its ends without an error.

    Args:
        gamma: γ.
        num_envs: E.
        within: the lowest and the highest return that the head can express.

    >>> seen = ReturnRange(0.5, 1, within=(0.0, 2.0))
    >>> for done in (False, True):
    ...     seen.add(np.array([4.0]), np.array([done]), None)
    >>> seen.low, seen.high
    (4.0, 6.0)
    >>> seen.warning()
    "returns range from 4.0 to 6.0, but the head's support from 0.0 to 2.0; widen head.v_min and head.v_max"
    """

    def __init__(self, gamma: float, num_envs: int, *, within: tuple[float, float]) -> None:
        self._gamma, self._within = gamma, within
        self._rewards: list[list[float]] = [[] for _ in range(num_envs)]
        self.low, self.high = float("inf"), float("-inf")
        self._warned = False

    def add(self, reward: NDArray[np.floating], done: NDArray[np.bool_], valid: NDArray[np.bool_] | None) -> None:
        """Add one step of every environment, ``[E]`` each, with the rewards that are stored."""
        for env in range(len(self._rewards)) if valid is None else np.flatnonzero(valid):
            self._rewards[env].append(float(reward[env]))
        for env in np.flatnonzero(done):
            self._close(int(env))

    def warning(self) -> str | None:
        """A warning, once, if the head cannot express the returns."""
        lowest, highest = self._within
        if self._warned or (self.low >= lowest and self.high <= highest):
            return None
        self._warned = True
        return (
            f"returns range from {self.low:.1f} to {self.high:.1f}, but the head's support from {lowest:.1f} to "
            f"{highest:.1f}; widen head.v_min and head.v_max"
        )

    def abandon(self) -> None:
        """Forget the running episodes."""
        self._rewards = [[] for _ in self._rewards]

    def state_dict(self) -> dict[str, Any]:
        """The range so far, and the rewards of the running episodes."""
        return {"low": self.low, "high": self.high, "warned": self._warned, "rewards": self._rewards}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Resume from ``state``."""
        self.low, self.high, self._warned = state["low"], state["high"], state["warned"]
        self._rewards = [list(rewards) for rewards in state["rewards"]]

    def _close(self, env: int) -> None:
        following = 0.0
        for reward in reversed(self._rewards[env]):
            following = reward + self._gamma * following
            self.low, self.high = min(self.low, following), max(self.high, following)
        self._rewards[env] = []
