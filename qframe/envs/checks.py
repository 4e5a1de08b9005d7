"""Checks of environments: Gymnasium's interface, finite numbers, masks and pictures, before training and at each step.

A vector environment in processes can only forward tracebacks. So the wrapper ``Checked`` puts a fault, as a message,
into its environment's infos, and ``check_infos`` raises it in the training process.
"""

import os
import pickle
import sysconfig
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from copy import deepcopy
from numbers import Real
from pathlib import Path
from traceback import walk_tb
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from gymnasium.vector import VectorEnv
from numpy.typing import NDArray

from qframe.actions.gymnasium_spaces import action_of, choices
from qframe.envs.infos import NUMBERS, info_numbers
from qframe.envs.masks import FAULT as MASK_FAULT
from qframe.envs.masks import MASK, checked_mask
from qframe.envs.protocol import FaultyEnvironment, Observation
from qframe.envs.seeding import SeededSpaces

READ = (MASK, MASK_FAULT)
"""The entries of an environment's infos that are read."""
FAULT = "qframe_fault"
"""The key of infos under which ``Checked`` reports a fault."""
_OTHERS = tuple(f"{folder}/" for folder in (*gym.__path__, *np.__path__, Path(__file__).parents[1]))
_LIBRARIES = tuple({f"{sysconfig.get_path(name)}/" for name in ("stdlib", "purelib", "platlib")})
"""Folders whose code never contains an environment's mistake (``_OTHERS``), or hardly ever does (``_LIBRARIES``)."""
_MOST_PLACES = 4
SKIPPED = "qframe_skipped"
"""The key of infos that marks an episode cut at a number that is not finite."""
REMEDY = "correct it in a wrapper (env.wrappers), or in the environment if it is yours"
_USUAL_START, _USUAL_STEP = (np.ndarray, dict), (np.ndarray, float, bool, bool, dict)
LATE_MASK = "the first reset gave no action mask, but a later step did; return info['action_mask'] from reset as well"
MOST = 255
TRIAL_SECONDS = 0.5


def fault_of(env: gym.Env[Any, Any]) -> str | None:
    """How an environment breaks Gymnasium's interface in a reset and a legal step; None if it does not."""
    if (fault := fault_of_spaces(env)) is not None:
        return fault
    checked = Checked(env)
    _, info = checked.reset(seed=0)
    if (fault := info.get(FAULT, info.get(MASK_FAULT))) is not None:
        return fault
    return checked.step(_legal(env.action_space, info.get(MASK), np.random.default_rng(0)))[4].get(FAULT)


def first_difference(env: gym.Env[Any, Any], steps: int) -> int | None:
    """The step at which two short episodes with the same seed and actions differ; None if they do not."""
    episodes = zip(_trial(env, steps), _trial(env, steps), strict=False)
    return next((step for step, (one, other) in enumerate(episodes) if one != other), None)


def _trial(env: gym.Env[Any, Any], steps: int) -> list[bytes]:
    """What an episode of random legal actions shows at each step, until a fault or the end of the time."""
    checked, rng, until = Checked(env), np.random.default_rng(0), time.monotonic() + TRIAL_SECONDS
    observation, info = checked.reset(seed=1)
    seen, result = list[bytes](), ()
    while FAULT not in info:
        seen.append(pickle.dumps((_copied(observation, env.observation_space), result, info.get(MASK))))
        if len(seen) > steps or any(result[1:3]) or time.monotonic() > until:
            break
        observation, *result, info = checked.step(_legal(env.action_space, info.get(MASK), rng))
    return seen


def fault_of_spaces(env: gym.Env[Any, Any]) -> str | None:
    """The fault of an environment's spaces, if any."""
    for name in ("observation_space", "action_space"):
        if not isinstance(space := getattr(env, name, None), spaces.Space):
            return f"{name} must be a space of gymnasium.spaces, but is {space!r}"
    if (key := _odd_key(env.observation_space)) is not None:
        return f"keys of a Dict observation must be strings, but one is {key!r}; use {str(key)!r}"
    return None


def _odd_key(space: spaces.Space[Any]) -> object | None:
    """A key that is not a string, at any depth."""
    if isinstance(space, spaces.Dict):
        odd, inner = [key for key in space.spaces if not isinstance(key, str)], list(space.spaces.values())
    else:
        odd, inner = [], list(space.spaces) if isinstance(space, spaces.Tuple) else []
    return next((key for key in (*odd, *map(_odd_key, inner)) if key is not None), None)


def _legal(space: spaces.Space[Any], mask: Any, rng: np.random.Generator) -> Any:
    """A random action that the mask allows, or any action without a mask."""
    sizes, starts = choices(space)
    if not sizes:
        return space.sample()
    legal = np.ones(sum(sizes), np.bool_) if mask is None else checked_mask(mask, space, is_over=False).mask
    parts = zip(np.split(legal, np.cumsum(sizes)[:-1]), starts, strict=True)
    return action_of(space, [start + int(rng.choice(np.flatnonzero(part | ~part.any()))) for part, start in parts])


class Checked(gym.Wrapper[Any, Any, Any, Any]):
    """Reports a breach of the interface, or an exception, as a message in ``info["qframe_fault"]``.

    With a fault it returns a sample of the observation space, which fits beside the results of other environments.

    Args:
        env: with all other wrappers applied.
        log_info: keys of numbers that the infos of steps keep.
    """

    def __init__(self, env: gym.Env[Any, Any], log_info: Sequence[str] = ()) -> None:
        super().__init__(env)
        self._log_info = log_info
        self._space = space = env.observation_space
        self._layout = (space.shape, space.dtype) if isinstance(space, spaces.Box) else None
        self._generators = SeededSpaces(env)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Reset; a seed is that of the spaces as well."""
        if seed is not None:
            self._generators.seed(seed)
        try:
            start: Any = self.env.reset(seed=seed, options=options or None)
            if type(start) is tuple and tuple(map(type, start)) == _USUAL_START:
                seen = start[0]
                if (seen.shape, seen.dtype) == self._layout:
                    return (seen, kept(start[1])) if start[1] else start
            return as_start(start, self._space)
        except (Exception, SystemExit) as error:
            return self._space.sample(), {FAULT: fault_of_error(error, "reset")}

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Step; the reward is a float, both ends are booleans."""
        try:
            result: Any = self.env.step(action)
            if type(result) is tuple and tuple(map(type, result)) == _USUAL_STEP:  # the usual case, checked cheaply
                seen = result[0]
                if (seen.shape, seen.dtype) == self._layout:
                    return (*result[:4], kept(result[4], self._log_info)) if result[4] else result
            return as_step(result, self._space, self._log_info)
        except (Exception, SystemExit) as error:
            return self._space.sample(), 0.0, False, True, {FAULT: fault_of_error(error, "step")}

    def close(self) -> None:
        """Close; a failure is ignored, as the environment is not used again."""
        with suppress(Exception):
            self.env.close()


class EndsWhereNotFinite(gym.Wrapper[Any, Any, Any, Any]):
    """Truncates an episode at an observation or a reward that is not finite.

    The step then returns the last finite observation and its action mask, with reward 0. Only entries of the
    observation space count, as the 32-bit floats that are stored. The last observation of an episode that terminates
    may hold anything: nothing is learnt from it.

    Args:
        env: the environment.
    """

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Reset; the first observation must be finite."""
        observation, info = self.env.reset(seed=seed, options=options)
        self._sound, self._info = _copied(observation, self.observation_space), info
        return observation, info

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Step, or end the episode."""
        observation, reward, terminated, truncated, info = self.env.step(action)
        space = self.observation_space
        if not _fits(reward) or not (terminated or is_finite(observation, space)):
            return self._sound, 0.0, False, True, {**self._info, SKIPPED: 1}
        self._sound, self._info = _copied(observation, space), info
        return observation, reward, terminated, truncated, info


def is_finite(observation: Any, space: spaces.Space[Any]) -> bool:
    """Whether all numbers of an observation are finite as 32-bit floats; entries outside the space do not count.

    >>> space = spaces.Dict({"at": spaces.Box(0, 1, (2,)), "speed": spaces.Tuple([spaces.Box(0, 1, ())])})
    >>> is_finite({"at": np.zeros(2), "speed": [float("nan")]}, space)
    False
    >>> is_finite({"at": np.zeros(2), "speed": [1.0], "other": float("nan")}, space)
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
    """A number that is not finite as a 32-bit float, for a message.

    >>> in_32_bits(float("nan")), in_32_bits(1e300)
    ('nan', '1e+300, which no 32-bit float holds')
    """
    return f"{number:g}, which no 32-bit float holds" if np.isfinite(number) else f"{number:g}"


def _copied(observation: Any, space: spaces.Space[Any]) -> Any:
    """A copy of the entries of an observation that are in its space, as dicts and tuples."""
    if isinstance(space, spaces.Dict):
        return {key: _copied(observation[key], entry) for key, entry in space.spaces.items()}
    if isinstance(space, spaces.Tuple):
        return tuple(map(_copied, observation, space.spaces))
    return deepcopy(observation)


def stepped(envs: VectorEnv[Any, Any, Any], action: NDArray[Any]) -> tuple[Any, ...]:
    """The result of ``envs.step``, with rewards checked, as 64-bit floats.

    Raises:
        FaultyEnvironment: rewards or observations that cannot be stacked, or a reward that is not finite.
    """
    try:
        result, given, terminated, truncated, info = envs.step(action)
    except (TypeError, ValueError, KeyError, SystemExit) as error:
        raise _as_fault(error) from error
    for name, over in (("terminated", terminated), ("truncated", truncated)):
        if np.shape(over) != (envs.num_envs,):
            raise FaultyEnvironment(f"{name} must be of shape ({envs.num_envs},), but is of {np.shape(over)}; {REMEDY}")
    if given.shape != (envs.num_envs,):
        raise FaultyEnvironment(f"rewards must be numbers, but have shape {list(given.shape[1:])}; use float(reward)")
    is_finite = np.isfinite(given.astype(np.float32))  # as the replay stores them
    if not is_finite.all():
        index = int(np.flatnonzero(~is_finite)[0])
        found = in_32_bits(given[index])
        raise FaultyEnvironment(f"environment {index}: the reward is {found}; {REMEDY}")
    return result, given.astype(np.float64), terminated, truncated, info


def check_observation(
    observation: Observation, space: spaces.Space[Any], terminated: NDArray[np.bool_] | None = None, name: str = ""
) -> None:
    """Check observations: numbers are finite, except where an episode terminated, and discrete values in their space.

    Raises:
        FaultyEnvironment: an observation is faulty.
    """
    if isinstance(observation, dict):
        inner = space.spaces if isinstance(space, spaces.Dict | spaces.Tuple) else {}
        entries = inner if isinstance(inner, dict) else {str(number): entry for number, entry in enumerate(inner)}
        if observation.keys() != entries.keys():
            raise FaultyEnvironment(f"observation{name} is not in {space}: its keys are {[*observation]}; {REMEDY}")
        for key, entry_space in entries.items():
            check_observation(observation[key], entry_space, terminated, f"{name}[{key!r}]")
    elif space.shape is not None and observation.shape[1:] != space.shape:
        raise FaultyEnvironment(f"observation{name} is not in {space}: its shape is {observation.shape[1:]}; {REMEDY}")
    elif isinstance(space, spaces.Discrete | spaces.MultiDiscrete | spaces.MultiBinary):
        _check_choice(observation, space, name)
    elif observation.dtype == np.float32 and not np.isfinite(observation).all():
        rows = observation.reshape(len(observation), -1)
        faulty = ~np.isfinite(rows).all(-1) & (True if terminated is None else ~terminated)
        for index in np.flatnonzero(faulty)[:1]:
            found = rows[index][~np.isfinite(rows[index])][0]
            raise FaultyEnvironment(f"environment {index}: observation{name} holds {found}; {REMEDY}")


def _check_choice(
    observation: NDArray[Any], space: spaces.Discrete | spaces.MultiDiscrete | spaces.MultiBinary, name: str
) -> None:
    count = space.n if isinstance(space, spaces.Discrete) else getattr(space, "nvec", 2)
    first = getattr(space, "start", 0)
    is_outside = (observation < first) | (observation >= np.add(first, count, dtype=np.int64))  # int8 may overflow
    for index in np.flatnonzero(is_outside.reshape(len(observation), -1).any(-1))[:1]:
        found = observation[index].tolist()
        raise FaultyEnvironment(f"environment {index}: observation{name} is not in {space}: {found}; {REMEDY}")


def check_infos(info: Mapping[str, Any]) -> None:
    """Raise the first fault that ``Checked`` reported.

    Raises:
        FaultyEnvironment: an environment has a fault.
    """
    if FAULT in info:
        index = int(np.flatnonzero(info[f"_{FAULT}"])[0])
        raise FaultyEnvironment(f"environment {index}: {info[FAULT][index]}")


def was_reset(envs: VectorEnv[Any, Any, Any], **choices: Any) -> tuple[Any, dict[str, Any]]:
    """The result of ``envs.reset``.

    Raises:
        FaultyEnvironment: observations that cannot be stacked.
    """
    try:
        return envs.reset(**choices)
    except (TypeError, ValueError, KeyError, SystemExit) as error:
        raise _as_fault(error) from error


class _Broken(Exception):
    """A returned value breaks the interface; the message says how."""


def fault_of_error(error: BaseException, method: str) -> str:
    """The message for an exception from an environment's method, or from the checks of its result."""
    message = str(error) if isinstance(error, _Broken) else f"{method} failed: {raised(error)}"
    return f"{message}{display_remedy(error) or f'; {REMEDY}'}"


def display_remedy(error: BaseException) -> str:
    """The remedy for an environment that opens a window where there is no display, for the end of a message."""
    has_none = not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
    is_missing = has_none and "display" in f"{type(error).__name__} {error}".lower()
    return "; it needs a display: start the command with xvfb-run -a" if is_missing else ""


def as_start(start: Any, space: spaces.Space[Any]) -> tuple[Any, dict[str, Any]]:
    """The result of ``reset``, checked; ``_Broken`` says how it breaks the interface."""
    if not (isinstance(start, tuple | list) and len(start) == 2):
        raise _Broken(f"reset must return (observation, info), but returned {_kind(start)}")
    if (fault := _fault_of_info(start[1]) or _misfit("reset", start[0], space)) is not None:
        raise _Broken(fault)
    return start[0], kept(start[1])


def as_step(
    result: Any, space: spaces.Space[Any], log_info: Sequence[str] = ()
) -> tuple[Any, float, bool, bool, dict[str, Any]]:
    """The result of ``step``, checked, with reward and ends as Python's own types."""
    if (fault := fault_of_step(result) or _misfit("step", result[0], space)) is not None:
        raise _Broken(fault)
    observation, reward, terminated, truncated, info = result
    return observation, float(reward), _as_bool(terminated), _as_bool(truncated), kept(info, log_info)


def kept(info: Mapping[str, Any], log_info: Sequence[str] = ()) -> dict[str, Any]:
    """The entries of infos that are read; the others may be of kinds that a vector environment cannot stack."""
    read = {key: info[key] for key in READ if key in info}
    return read | {NUMBERS: info_numbers(info, log_info)} if log_info else read


def _misfit(name: str, observation: Any, space: spaces.Space[Any]) -> str | None:
    if (misfit := misfit_of(observation, space)) is None:
        return None
    is_type = isinstance(space, spaces.Box) and misfit.startswith("numbers of type ")
    remedy = f"; add {{_target_: DtypeObservation, dtype: {misfit.split()[-1]}}} to env.wrappers" if is_type else ""
    return f"{name} must return an observation in {space}, but returned {misfit}{remedy}"


def fault_of_step(result: Any) -> str | None:
    """How the result of ``step`` breaks the interface, the observation aside.

    >>> fault_of_step((0, np.ones(1), False, False, {})).partition(" (env.wrappers")[0]
    'the reward must be a number, but is an array of shape (1,); use float(reward)'
    """
    if not (isinstance(result, tuple | list) and len(result) == 5):
        return f"step must return (observation, reward, terminated, truncated, info), but returned {_kind(result)}"
    _, reward, terminated, truncated, info = result
    if not (type(reward) is float or isinstance(reward, Real) or _is_number(reward, "biuf")):
        shape = np.shape(reward) if isinstance(reward, np.ndarray | list | tuple) else ()
        several = "several agents or objectives cannot be trained: weigh their rewards to one"
        remedy = "use float(reward)" if np.size(reward) == 1 else several
        ones = ", ".join("1" for _ in range(np.size(reward)))
        remedy += f" (env.wrappers=[{{_target_: qframe.envs.WeighReward, weights: [{ones}]}}])" if shape else ""
        found = f"an array of shape {shape}; {remedy}" if shape else f"{reward!r}"
        return f"the reward must be a number, but is {found}"
    for name, over in (("terminated", terminated), ("truncated", truncated)):
        if not (type(over) is bool or _is_number(np.asarray(over).reshape(-1)[:2].squeeze(), "biuf")):
            return f"{name} must be True or False, but is {over!r}; use bool({name})"
    return _fault_of_info(info)


def _fault_of_info(info: object) -> str | None:
    return None if type(info) is dict or isinstance(info, Mapping) else f"info must be a dict, but is {_kind(info)}"


def misfit_of(observation: Any, space: spaces.Space[Any]) -> str | None:
    """Describe an observation whose shape, keys or type do not match its space; None if they do.

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
    """An exception in one line, with its locations: in the environment, innermost first, or else in a library."""
    places = [f"{frame.f_code.co_filename}:{line}" for frame, line in walk_tb(error.__traceback__)]
    others = [place for place in places if not place.startswith((*_OTHERS, "<"))]
    own = [place for place in others if not place.startswith(_LIBRARIES)] or others or places[-1:]
    text = " ".join(str(error).split())
    where = " from ".join(reversed(own[-_MOST_PLACES:]))
    return f"{type(error).__name__}{': ' if text else ''}{text}{', at ' if where else ''}{where}"


def _is_number(value: object, kinds: str) -> bool:
    """Whether a value is one number of these NumPy kinds; an array without dimensions counts."""
    number = np.asarray(value)
    return number.shape == () and number.dtype.kind in kinds


def _as_bool(over: Any) -> bool:
    return bool(np.asarray(over).item())


def _kind(result: object) -> str:
    return f"a tuple of {len(result)}" if isinstance(result, tuple) else type(result).__name__


def _as_fault(error: Exception | SystemExit) -> BaseException:
    """A ``FaultyEnvironment`` if results could not be stacked; the error itself if an environment raised it."""
    if isinstance(error, SystemExit):
        return FaultyEnvironment(f"an environment ended the process: {raised(error)}; {REMEDY}")
    codes = [frame.f_code for frame, _ in walk_tb(error.__traceback__)]
    code = next(code for code in reversed(codes) if "numpy" not in Path(code.co_filename).parts)
    if "gymnasium/vector/" not in Path(code.co_filename).as_posix() or code.co_name == "_raise_if_errors":
        return error
    reason = f"no {error}" if isinstance(error, KeyError) else str(error)
    return FaultyEnvironment(
        f"rewards and observations of the environments cannot be stacked: {reason}; {REMEDY}"
    )


def picture_of(drawn: Any) -> NDArray[np.uint8]:
    """A rendered picture, grey or with transparency, as ``[H, W, 3]``.

    Raises:
        FaultyEnvironment: ``render`` returned no picture.

    >>> picture_of(np.ones((4, 2), np.uint8)).shape, picture_of(np.ones((4, 2, 4), np.uint8)).shape
    ((4, 2, 3), (4, 2, 3))
    """
    picture = np.asarray(drawn)
    picture = picture[..., None] if picture.ndim == 2 else picture
    is_colour = picture.dtype.kind in "uif" and bool(((picture >= 0) & (picture <= MOST)).all())
    if picture.ndim != 3 or picture.shape[2] not in (1, 3, 4) or not picture.size or not is_colour:
        found = f"{picture.dtype} of shape {picture.shape}" if isinstance(drawn, np.ndarray) else type(drawn).__name__
        raise FaultyEnvironment(f"render must return a picture [H, W, 3] of 0 to {MOST}, but returned {found}")
    picture = picture.astype(np.uint8, copy=False)
    return np.repeat(picture, 3, -1) if picture.shape[2] == 1 else picture[..., :3]
