"""The running standard deviation of discounted sums of rewards."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

EPSILON = 1e-8
_PRIOR = 1e-4
"""The weight, in steps, of the initial variance of 1."""


class RunningReturns:
    """The variance of ``R ← γ · R + r`` over all steps of E environments, by merging batches (Chan et al., 1979).

    Args:
        num_envs: E.
        gamma: γ.
    """

    def __init__(self, num_envs: int, gamma: float) -> None:
        self._gamma = gamma
        self._returns = np.zeros(num_envs)  # R of every environment
        self._count, self._mean, self._variance = _PRIOR, 0.0, 1.0

    @property
    def deviation(self) -> float:
        """The standard deviation, above 0."""
        return math.sqrt(self._variance + EPSILON)

    def add(self, reward: NDArray[np.float64], valid: NDArray[np.bool_] | None = None) -> None:
        """Add the sums ``[E]`` after this step; those of invalid steps are left out."""
        self._returns = self._gamma * self._returns + reward
        seen = self._returns if valid is None else self._returns[valid]
        if len(seen):
            total = self._count + len(seen)
            share, delta = len(seen) / total, float(seen.mean()) - self._mean
            self._variance = (1 - share) * self._variance + share * float(seen.var()) + share * (1 - share) * delta**2
            self._mean, self._count = self._mean + share * delta, total

    def restart(self, done: NDArray[np.bool_] | None = None) -> None:
        """Start the sums of some environments from 0; of all without ``done``."""
        self._returns[slice(None) if done is None else done] = 0.0

    def state_dict(self) -> dict[str, Any]:
        """The statistics, and the sums."""
        returns = self._returns.tolist()
        return {"count": self._count, "mean": self._mean, "variance": self._variance, "returns": returns}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Resume from ``state``."""
        self._count, self._mean, self._variance = state["count"], state["mean"], state["variance"]
        self._returns[:] = state["returns"]
