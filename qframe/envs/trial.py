"""A trial of an environment before training: its spaces, a reset and a legal step."""

from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces

from qframe.envs.episodes import Checked
from qframe.envs.interface import FAULT
from qframe.envs.masks import FAULT as MASK_FAULT
from qframe.envs.masks import MASK, branch_sizes, checked_mask


def fault_of(env: gym.Env[Any, Any]) -> str | None:
    """How an environment breaks Gymnasium's interface, by a reset and a legal step; None where it does not."""
    if (fault := fault_of_spaces(env)) is not None:
        return fault
    checked = Checked(env)
    _, info = checked.reset(seed=0)
    if (fault := info.get(FAULT, info.get(MASK_FAULT))) is not None:
        return fault
    env.action_space.seed(0)
    return checked.step(_legal(env.action_space, info.get(MASK)))[4].get(FAULT)


def fault_of_spaces(env: gym.Env[Any, Any]) -> str | None:
    """What is wrong with an environment's spaces."""
    for name in ("observation_space", "action_space"):
        if not isinstance(space := getattr(env, name, None), spaces.Space):
            return f"expected {name} to be a space of gymnasium.spaces, got {space!r}"
    if (key := _odd_key(env.observation_space)) is not None:
        return f"expected words as keys of the observation's Dict, got {key!r}; use {str(key)!r}"
    return None


def _odd_key(space: spaces.Space[Any]) -> object | None:
    """A key that is no string, however deep inside."""
    if isinstance(space, spaces.Dict):
        odd, inner = [key for key in space.spaces if not isinstance(key, str)], list(space.spaces.values())
    else:
        odd, inner = [], list(space.spaces) if isinstance(space, spaces.Tuple) else []
    return next((key for key in (*odd, *map(_odd_key, inner)) if key is not None), None)


def _legal(space: spaces.Space[Any], mask: Any) -> Any:
    """An action that a mask allows, or any where there is none."""
    sizes = branch_sizes(space)
    if mask is None or not sizes:
        return space.sample()
    flat = checked_mask(mask, space, is_over=False).mask
    first = [int(part.argmax()) for part in np.split(flat, np.cumsum(sizes)[:-1])]
    if isinstance(space, spaces.Discrete):
        return space.start + first[0]
    action = np.asarray(first, space.dtype).reshape(space.shape or ())
    return action + space.start if isinstance(space, spaces.MultiDiscrete) else action
