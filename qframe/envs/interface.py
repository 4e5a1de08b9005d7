"""Gymnasium's interface: whether an environment keeps to it, told in words where it does not."""

from collections.abc import Mapping
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces

OBSERVATION_FAULT = "observation_fault"
"""Where infos of a worker process carry what is wrong with an observation: it is told in words, and no traceback."""


class ObservationFaults(gym.Wrapper[Any, Any, Any, Any]):
    """Puts what is wrong with an observation's layout into ``info["observation_fault"]``, for worker processes.

    Args:
        env: to be stepped in a process of its own, which cannot write an observation of another layout.
    """

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Reset, with an observation of the space whatever the environment gave."""
        observation, info = self.env.reset(seed=seed, options=options)
        return self._checked(observation, info)

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Step, with an observation of the space whatever the environment gave."""
        observation, reward, terminated, truncated, info = self.env.step(action)
        observation, info = self._checked(observation, info)
        return observation, reward, terminated, truncated, info  # pyright: ignore[reportReturnType]

    def _checked(self, observation: Any, info: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        misfit = misfit_of(observation, self.observation_space)
        if misfit is None:
            return observation, info
        fault = f"expected an observation in {self.observation_space}, got {misfit}; mend the environment"
        return self.observation_space.sample(), {**info, OBSERVATION_FAULT: fault}


def fault_of(env: gym.Env[Any, Any]) -> str | None:
    """How an environment breaks Gymnasium's interface, by a reset and a step; None where it does not."""
    if not isinstance(getattr(env, "observation_space", None), spaces.Space):
        return f"expected observation_space to be a space, got {getattr(env, 'observation_space', None)!r}"
    try:
        start: Any = env.reset(seed=0)
        if (fault := fault_of_start(start)) is not None:
            return fault
        if (misfit := misfit_of(start[0], env.observation_space)) is not None:
            return f"expected reset to give an observation in {env.observation_space}, got {misfit}"
        mask = start[1].get("action_mask") if isinstance(env.action_space, spaces.Discrete) else None
        env.action_space.seed(0)
        result: Any = env.step(env.action_space.sample(None if mask is None else np.asarray(mask, np.int8)))
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    if not (isinstance(result, tuple) and len(result) == 5 and isinstance(result[4], dict)):
        return f"expected step to return (observation, reward, terminated, truncated, info), got {_kind(result)}"
    misfit = misfit_of(result[0], env.observation_space)
    return None if misfit is None else f"expected step to give an observation in {env.observation_space}, got {misfit}"


def fault_of_start(start: Any) -> str | None:
    """What is wrong with what ``reset`` returned, but for the observation itself."""
    if isinstance(start, tuple) and len(start) == 2 and isinstance(start[1], dict):
        return None
    return f"expected reset to return (observation, info), got {_kind(start)}"


def misfit_of(observation: Any, space: spaces.Space[Any]) -> str | None:
    """What an observation is, where it does not have the shape or the keys of its space.

    >>> misfit_of(np.zeros(3), spaces.Box(0, 1, (2,))), misfit_of({}, spaces.Dict({"at": spaces.Discrete(2)}))
    ('one of shape (3,)', 'the keys []')
    """
    if isinstance(space, spaces.Dict):
        if not isinstance(observation, Mapping):
            return _kind(observation)
        if not observation.keys() >= space.spaces.keys():
            return f"the keys {sorted(observation)}"
        found = (misfit_of(observation[key], entry) for key, entry in space.spaces.items())
        return next((misfit for misfit in found if misfit is not None), None)
    if isinstance(space, spaces.Tuple):
        if not isinstance(observation, tuple | list) or len(observation) != len(space.spaces):
            return _kind(observation)
        found = (misfit_of(part, entry) for part, entry in zip(observation, space.spaces, strict=True))
        return next((misfit for misfit in found if misfit is not None), None)
    if space.shape is not None and np.shape(observation) != space.shape:
        return f"one of shape {np.shape(observation)}"
    return None


def _kind(result: object) -> str:
    return f"a tuple of {len(result)}" if isinstance(result, tuple) else type(result).__name__
