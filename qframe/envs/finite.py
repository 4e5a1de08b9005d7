"""Environments that now and then give what is not a number: their episode ends there, as truncated."""

from copy import deepcopy
from typing import Any

import gymnasium as gym
import numpy as np

SKIPPED = "qframe_skipped"
"""Where infos tell that an episode was ended so."""


class EndsWhereNotFinite(gym.Wrapper[Any, Any, Any, Any]):
    """Where an observation or a reward is not finite, the last sound observation stays, without reward, truncated.

    The last observation of an episode that terminates may be anything: nothing is learnt of it.

    Args:
        env: to be stepped.
    """

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Reset; what a new episode starts with must be sound."""
        observation, info = self.env.reset(seed=seed, options=options)
        self._sound = deepcopy(observation)
        return observation, info

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Step, or end the episode."""
        observation, reward, terminated, truncated, info = self.env.step(action)
        if not np.isfinite(float(reward)) or not (terminated or is_finite(observation)):
            return self._sound, 0.0, False, True, {**info, SKIPPED: 1}
        self._sound = deepcopy(observation)
        return observation, reward, terminated, truncated, info


def is_finite(observation: Any) -> bool:
    """Whether every number in an observation is, however it is nested.

    >>> is_finite({"at": np.zeros(2), "speed": (1.0, float("nan"))})
    False
    """
    if isinstance(observation, dict | tuple):
        return all(map(is_finite, observation.values() if isinstance(observation, dict) else observation))
    numbers = np.asarray(observation)
    return numbers.dtype.kind not in "fc" or bool(np.isfinite(numbers).all())
