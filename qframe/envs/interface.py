"""Gymnasium's interface: whether an environment keeps to it, told in words where it does not."""

import sysconfig
from collections.abc import Mapping
from numbers import Real
from pathlib import Path
from traceback import walk_tb
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from qframe.envs.masks import FAULT as MASK_FAULT
from qframe.envs.masks import MASK

READ = (MASK, MASK_FAULT)
"""What is read of an environment's infos."""
FAULT = "qframe_fault"
"""Where infos carry what an environment did against the interface: a process of its own could give a traceback only."""
_OTHERS = tuple(f"{folder}/" for folder in (*gym.__path__, *np.__path__, Path(__file__).parents[1]))
_LIBRARIES = tuple({f"{sysconfig.get_path(name)}/" for name in ("stdlib", "purelib", "platlib")})
"""Where an environment's mistake may come to light, and is not to be mended, and where it hardly is."""
_MOST_PLACES = 4


class _Broken(Exception):
    """What was returned is against the interface, in words."""


def fault_of_error(error: BaseException, expected: str) -> str:
    """What is wrong where something else came than what was expected of an environment."""
    told = str(error) if isinstance(error, _Broken) else f"expected {expected}, got {raised(error)}"
    return f"{told}; mend the environment"


def as_start(start: Any, space: spaces.Space[Any]) -> tuple[Any, dict[str, Any]]:
    """What ``reset`` returned.

    Raises:
        _Broken: it is against the interface.
    """
    if (fault := fault_of_start(start) or _misfit("reset", start[0], space)) is not None:
        raise _Broken(fault)
    return start[0], kept(start[1])


def as_step(result: Any, space: spaces.Space[Any]) -> tuple[Any, float, bool, bool, dict[str, Any]]:
    """What ``step`` returned, the numbers as Python's own.

    Raises:
        _Broken: it is against the interface.
    """
    if (fault := fault_of_step(result) or _misfit("step", result[0], space)) is not None:
        raise _Broken(fault)
    observation, reward, terminated, truncated, info = result
    return observation, float(reward), _as_bool(terminated), _as_bool(truncated), kept(info)


def kept(info: Mapping[str, Any]) -> dict[str, Any]:
    """What is read of infos: a vector environment cannot put all else that they may hold side by side."""
    return {key: info[key] for key in READ if key in info}


def _misfit(name: str, observation: Any, space: spaces.Space[Any]) -> str | None:
    misfit = misfit_of(observation, space)
    return None if misfit is None else f"expected {name} to give an observation in {space}, got {misfit}"


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
    if not (type(reward) is float or isinstance(reward, Real) or _is_number(reward, "biuf")):
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
    >>> misfit_of(np.array([300]), spaces.Box(0, 9, (1,), np.int8))
    'one with 300, which int8 cannot hold'
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
    if not np.can_cast(numbers.dtype, space.dtype, "same_kind"):
        return f"numbers of type {numbers.dtype}"
    return None if np.can_cast(numbers.dtype, space.dtype) or space.dtype.kind == "f" else _lost(numbers, space.dtype)


def _lost(numbers: NDArray[Any], dtype: np.dtype[Any]) -> str | None:
    lost = numbers[numbers.astype(dtype) != numbers]
    return f"one with {lost[0]}, which {dtype} cannot hold" if lost.size else None


def raised(error: BaseException) -> str:
    """What an environment raised, in one line, and where: its own lines, the last first, else those of libraries."""
    places = [f"{frame.f_code.co_filename}:{line}" for frame, line in walk_tb(error.__traceback__)]
    others = [place for place in places if not place.startswith(_OTHERS)]
    own = [place for place in others if not place.startswith(_LIBRARIES)] or others or places[-1:]
    text = " ".join(str(error).split())
    where = " from ".join(reversed(own[-_MOST_PLACES:]))
    return f"{type(error).__name__}{': ' if text else ''}{text}{', at ' if where else ''}{where}"


def _is_number(value: object, kinds: str) -> bool:
    """Whether it is one number of a kind, as NumPy names kinds; an array without dimensions counts."""
    number = np.asarray(value)
    return number.shape == () and number.dtype.kind in kinds


def _as_bool(over: Any) -> bool:
    return bool(np.asarray(over).item())


def _kind(result: object) -> str:
    return f"a tuple of {len(result)}" if isinstance(result, tuple) else type(result).__name__


def fault_of_vector(error: Exception | SystemExit) -> str | None:
    """What is wrong with environments whose results a vector environment could not put side by side.

    None of an error that one of them raised itself.
    """
    if isinstance(error, SystemExit):
        return f"expected environments that go on, got {raised(error)}; mend the environment"
    if not _is_of_vectorization(error):
        return None
    reason = f"no {error}" if isinstance(error, KeyError) else str(error)
    return f"{NO_NUMBER}, got what does not fit: {reason}; mend the environment"


def _is_of_vectorization(error: Exception) -> bool:
    """Whether it comes from putting results side by side, and not from an environment."""
    codes = [frame.f_code for frame, _ in walk_tb(error.__traceback__)]
    code = next(code for code in reversed(codes) if "numpy" not in Path(code.co_filename).parts)
    is_inside = "gymnasium/vector/" in Path(code.co_filename).as_posix()
    return is_inside and code.co_name != "_raise_if_errors"


NO_NUMBER = "expected a number as reward and an observation of the environment's space"
