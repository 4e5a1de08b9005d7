"""Gymnasium's interface: whether an environment keeps to it, told in words where it does not."""

import sysconfig
from collections.abc import Mapping
from pathlib import Path
from traceback import walk_tb
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces

from qframe.envs.masks import FAULT as MASK_FAULT
from qframe.envs.masks import MASK, branch_sizes, checked_mask

FAULT = "qframe_fault"
"""Where infos carry what an environment did against the interface: a process of its own could give a traceback only."""
_OTHERS = tuple(f"{folder}/" for folder in (*gym.__path__, *np.__path__, Path(__file__).parents[1]))
_LIBRARIES = tuple({f"{sysconfig.get_path(name)}/" for name in ("stdlib", "purelib", "platlib")})
"""Where an environment's mistake may come to light, and is not to be mended, and where it hardly is."""
_MOST_PLACES = 4


class Checked(gym.Wrapper[Any, Any, Any, Any]):
    """Puts what an environment does against the interface, and what it raises, into ``info["qframe_fault"]``.

    What it returns with a fault is of its spaces, so that it can be put beside what others return.

    Args:
        env: in all its other wrappers.
    """

    def __init__(self, env: gym.Env[Any, Any]) -> None:
        super().__init__(env)
        self._space = space = env.observation_space
        self._layout = (space.shape, space.dtype) if isinstance(space, spaces.Box) else None

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Reset."""
        try:
            start: Any = self.env.reset(seed=seed, options=options)
            if (fault := fault_of_start(start) or self._misfit("reset", start[0])) is None:
                return start[0], _as_dict(start[1])
        except (Exception, SystemExit) as error:
            fault = f"expected reset to give a new episode, got {raised(error)}"
        return self._space.sample(), {FAULT: f"{fault}; mend the environment"}

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Step; the reward is a float, both ends are booleans."""
        try:
            result: Any = self.env.step(action)
            if (fault := fault_of_step(result) or self._misfit("step", result[0])) is None:
                observation, reward, terminated, truncated, info = result
                return observation, float(reward), _as_bool(terminated), _as_bool(truncated), _as_dict(info)
        except (Exception, SystemExit) as error:
            fault = f"expected step to go on, got {raised(error)}"
        return self._space.sample(), 0.0, False, True, {FAULT: f"{fault}; mend the environment"}

    def _misfit(self, name: str, observation: Any) -> str | None:
        if type(observation) is np.ndarray and (observation.shape, observation.dtype) == self._layout:
            return None
        misfit = misfit_of(observation, self._space)
        return None if misfit is None else f"expected {name} to give an observation in {self._space}, got {misfit}"


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
    return None


def fault_of_start(start: Any) -> str | None:
    """What is wrong with what ``reset`` returned, but for the observation itself."""
    if not (isinstance(start, tuple | list) and len(start) == 2):
        return f"expected reset to return (observation, info), got {_kind(start)}"
    return _fault_of_info(start[1])


def fault_of_step(result: Any) -> str | None:
    """What is wrong with what ``step`` returned, but for the observation itself.

    >>> fault_of_step((0, np.ones(1), False, False, {}))
    'expected a number as reward, got an array of shape (1,); use float(reward)'
    """
    if not (isinstance(result, tuple | list) and len(result) == 5):
        return f"expected step to return (observation, reward, terminated, truncated, info), got {_kind(result)}"
    _, reward, terminated, truncated, info = result
    if not (type(reward) is float or _is_number(reward, "biuf")):
        shape = np.shape(reward) if isinstance(reward, np.ndarray | list | tuple) else ()
        found = f"an array of shape {shape}; use float(reward)" if shape else f"{reward!r}"
        return f"expected a number as reward, got {found}"
    for name, over in (("terminated", terminated), ("truncated", truncated)):
        if not (type(over) is bool or _is_number(np.asarray(over).reshape(-1)[:2].squeeze(), "biuf")):
            return f"expected {name} to be True or False, got {over!r}; use bool({name})"
    return _fault_of_info(info)


def _fault_of_info(info: object) -> str | None:
    return None if type(info) is dict or isinstance(info, Mapping) else f"expected info to be a dict, got {_kind(info)}"


def misfit_of(observation: Any, space: spaces.Space[Any]) -> str | None:
    """What an observation is, where it has not the shape, the keys or the kind of numbers of its space.

    >>> misfit_of(np.zeros(3), spaces.Box(0, 1, (2,))), misfit_of({}, spaces.Dict({"at": spaces.Discrete(2)}))
    ('one of shape (3,)', 'the keys []')
    >>> misfit_of(np.zeros(2), spaces.Box(0, 255, (2,), np.uint8))
    'numbers of type float64'
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
    if space.shape is None or space.dtype is None:
        return None
    try:
        numbers = np.asarray(observation)
    except ValueError:
        return "rows of several lengths"
    if numbers.dtype.kind not in "biufc":
        return _kind(observation)
    if numbers.shape != space.shape:
        return f"one of shape {numbers.shape}"
    return None if np.can_cast(numbers.dtype, space.dtype, "same_kind") else f"numbers of type {numbers.dtype}"


def raised(error: BaseException) -> str:
    """What an environment raised, in one line, and where: its own lines, the last first, else those of libraries."""
    places = [f"{frame.f_code.co_filename}:{line}" for frame, line in walk_tb(error.__traceback__)]
    others = [place for place in places if not place.startswith(_OTHERS)]
    own = [place for place in others if not place.startswith(_LIBRARIES)] or others or places[-1:]
    text = " ".join(str(error).split())
    where = " from ".join(reversed(own[-_MOST_PLACES:]))
    return f"{type(error).__name__}{': ' if text else ''}{text}{', at ' if where else ''}{where}"


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


def _is_number(value: object, kinds: str) -> bool:
    """Whether it is one number of a kind, as NumPy names kinds; an array without dimensions counts."""
    number = np.asarray(value)
    return number.shape == () and number.dtype.kind in kinds


def _as_bool(over: Any) -> bool:
    return over if type(over) is bool else bool(np.asarray(over).item())


def _as_dict(info: Any) -> dict[str, Any]:
    return info if type(info) is dict else dict(info)


def _kind(result: object) -> str:
    return f"a tuple of {len(result)}" if isinstance(result, tuple) else type(result).__name__
