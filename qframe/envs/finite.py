"""Environments that now and then give what is not a number: their episode ends there, as truncated."""

from copy import deepcopy
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces

SKIPPED = "qframe_skipped"
"""Where infos tell that an episode was ended so."""


class EndsWhereNotFinite(gym.Wrapper[Any, Any, Any, Any]):
    """Where an observation or a reward is not finite, the last sound observation stays, without reward, truncated.

    Its action mask stays with it. Numbers are judged as the 32-bit floats that are learnt of, and only those of the
    observation space. The last observation of an episode that terminates may be anything: nothing is learnt of it.

    Args:
        env: to be stepped.
    """

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Reset; what a new episode starts with must be sound."""
        observation, info = self.env.reset(seed=seed, options=options)
        self._sound, self._told = _kept(observation, self.observation_space), info
        return observation, info

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Step, or end the episode."""
        observation, reward, terminated, truncated, info = self.env.step(action)
        space = self.observation_space
        if not _fits(reward) or not (terminated or is_finite(observation, space)):
            return self._sound, 0.0, False, True, {**self._told, SKIPPED: 1}
        self._sound, self._told = _kept(observation, space), info
        return observation, reward, terminated, truncated, info


def is_finite(observation: Any, space: spaces.Space[Any]) -> bool:
    """Whether every number of an observation of ``space`` is, as a 32-bit float, however it is nested.

    >>> space = spaces.Dict({"at": spaces.Box(0, 1, (2,)), "speed": spaces.Tuple([spaces.Box(0, 1, ())])})
    >>> is_finite({"at": np.zeros(2), "speed": [float("nan")]}, space)
    False
    >>> is_finite({"at": np.zeros(2), "speed": [1.0], "not of the space": float("nan")}, space)
    True
    """
    if isinstance(space, spaces.Dict):
        return all(is_finite(observation[key], entry) for key, entry in space.spaces.items())
    if isinstance(space, spaces.Tuple):
        return all(map(is_finite, observation, space.spaces))
    return not isinstance(space, spaces.Box) or space.dtype.kind != "f" or _fits(observation)


def _fits(numbers: Any) -> bool:
    with np.errstate(over="ignore"):
        return bool(np.isfinite(np.asarray(numbers).astype(np.float32)).all())


def in_32_bits(number: float) -> str:
    """A number that is not finite as a 32-bit float, in words.

    >>> in_32_bits(float("nan")), in_32_bits(1e300)
    ('nan', '1e+300, which no 32-bit float holds')
    """
    return f"{number:g}, which no 32-bit float holds" if np.isfinite(number) else f"{number:g}"


def _kept(observation: Any, space: spaces.Space[Any]) -> Any:
    """A copy of what the space has of an observation: mappings and lists as the dicts and tuples that it gives."""
    if isinstance(space, spaces.Dict):
        return {key: _kept(observation[key], entry) for key, entry in space.spaces.items()}
    if isinstance(space, spaces.Tuple):
        return tuple(map(_kept, observation, space.spaces))
    return deepcopy(observation)
