"""The range of returns that a run sees, and whether the head can hold it."""

from typing import Any

import numpy as np
from numpy.typing import NDArray


class ReturnRange:
    """How low and how high discounted returns have been, from every step of the finished episodes on.

    A categorical head has a fixed support: what lies outside is moved to its ends, and nothing else would tell.

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
    "returns from 4.0 to 6.0 are seen, and the head's support holds 0.0 to 2.0: set head.v_min and head.v_max wider"
    """

    def __init__(self, gamma: float, num_envs: int, *, within: tuple[float, float]) -> None:
        self._gamma, self._within = gamma, within
        self._rewards: list[list[float]] = [[] for _ in range(num_envs)]
        self.low, self.high = float("inf"), float("-inf")
        self._warned = False

    def add(self, reward: NDArray[np.float32], done: NDArray[np.bool_], valid: NDArray[np.bool_] | None) -> None:
        """Count one step of every environment, ``[E]`` each: rewards as they are stored."""
        for env in range(len(self._rewards)) if valid is None else np.flatnonzero(valid):
            self._rewards[env].append(float(reward[env]))
        for env in np.flatnonzero(done):
            self._close(int(env))

    def warning(self) -> str | None:
        """What to tell, once: returns that the head cannot express."""
        lowest, highest = self._within
        if self._warned or (self.low >= lowest and self.high <= highest):
            return None
        self._warned = True
        return (
            f"returns from {self.low:.1f} to {self.high:.1f} are seen, and the head's support holds {lowest:.1f} to "
            f"{highest:.1f}: set head.v_min and head.v_max wider"
        )

    def abandon(self) -> None:
        """Forget the running episodes."""
        self._rewards = [[] for _ in self._rewards]

    def state_dict(self) -> dict[str, Any]:
        """The range so far, and the rewards of the running episodes."""
        return {"low": self.low, "high": self.high, "warned": self._warned, "rewards": self._rewards}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from ``state``."""
        self.low, self.high, self._warned = state["low"], state["high"], state["warned"]
        self._rewards = [list(rewards) for rewards in state["rewards"]]

    def _close(self, env: int) -> None:
        following = 0.0
        for reward in reversed(self._rewards[env]):
            following = reward + self._gamma * following
            self.low, self.high = min(self.low, following), max(self.high, following)
        self._rewards[env] = []
