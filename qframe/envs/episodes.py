"""Vector environments as streams of true transitions, whatever their way of resetting.

Gymnasium's vector environments reset in one of three modes. An adapter per mode gives the same answer: what happened
in this step, and the observation to act on next. No reset step ever looks like a transition, and the observation that
ended an episode is kept.
"""

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from gymnasium.vector import VectorEnv
from numpy.typing import NDArray

from qframe.envs.finite import SKIPPED, in_32_bits
from qframe.envs.interface import FAULT, NO_NUMBER, as_start, as_step, fault_of_error, fault_of_vector, kept, raised
from qframe.envs.pictures import picture_of
from qframe.envs.replaying import ReplayedEpisodes
from qframe.envs.streams import Episodes, FaultyEnvironment, Observation, SeedOf, Start, Step

__all__ = [
    "LATE_MASK", "Checked", "Episodes", "FaultyEnvironment", "Observation", "SeedOf", "SeededEpisodes", "Start", "Step",
    "check_observation", "own_copy", "stepped", "was_reset",
]


class SeededEpisodes(ReplayedEpisodes):
    """Environments that reset when they are told (``AutoresetMode.DISABLED``): every episode has its own seed.

    Args:
        envs: a Gymnasium vector environment in that mode (sync or async), its environments wrapped in ``ActionMasks``
            where they have masks.
        seed_of: gives the seed of each episode.
        has_masks: whether they have.
        is_deterministic: whether an episode's seed and actions determine it.

    Raises:
        FaultyEnvironment: by ``reset`` and ``step``, what an environment gave cannot be trained on.
    """

    has_episode_seeds = True

    def __init__(
        self,
        envs: VectorEnv[Any, Any, Any],
        seed_of: SeedOf,
        *,
        has_masks: bool = False,
        is_deterministic: bool = True,
    ) -> None:
        super().__init__(envs.num_envs, seed_of, is_deterministic=is_deterministic)
        self._envs, self._has_masks, self._skipped = envs, has_masks, 0
        self.stays_in_process: bool = getattr(envs, "stays_in_process", False)
        """Whether no forked process could step the environments."""
        self.step_info: Mapping[str, Any] = {}
        """What the environments told with their last step, as far as it is read."""
        self.reset_info: Mapping[str, Any] = {}
        """What they told with the last reset, where there was one."""

    def step(self, action: NDArray[Any]) -> Step:
        """Step every environment, and start a new episode where one ended."""
        # Environments may change what they are given, if it is no number.
        lent = action.copy() if action.ndim > 1 else action
        result, reward, terminated, truncated, self.step_info = stepped(self._envs, lent)
        check_told(self.step_info)
        if SKIPPED in self.step_info:
            self._skipped += int(self.step_info[SKIPPED].sum())
        next_observation, next_mask = own_copy(result), self._mask(self.step_info)
        check_observation(next_observation, self._envs.single_observation_space, terminated)
        done = terminated | truncated
        self.episode += done
        if self._remembers:
            if self._taken == len(self._actions):
                self._make_room(action)
            self._actions[self._taken] = action
            self._taken += 1
        start = self._restart(done, next_mask) if done.any() else Start(next_observation, next_mask)
        return Step(next_observation, reward, terminated, truncated, None, start.observation, next_mask, start.mask)

    def _restart(self, done: NDArray[np.bool_], mask: NDArray[np.bool_] | None) -> Start:
        """Start a new episode, with its own seed, where ``done``; ``mask`` stays that of the others."""
        self._began[done] = self._taken
        seeds: Any = [self._seed_of(i, int(self.episode[i])) if ended else None for i, ended in enumerate(done)]
        result, self.reset_info = was_reset(self._envs, seed=seeds, options={"reset_mask": done})
        check_told(self.reset_info)
        first = self._mask(self.reset_info)
        if first is not None and mask is not None:
            first = np.where(done[:, None], first, mask)
        observation = own_copy(result)
        check_observation(observation, self._envs.single_observation_space)
        return Start(observation, first)

    def _mask(self, info: Mapping[str, Any]) -> NDArray[np.bool_] | None:
        """The masks ``[E, A]``, which the environments' wrappers have checked."""
        if not self._has_masks:
            if "action_mask" in info:
                raise FaultyEnvironment(LATE_MASK)
            return None
        if "action_mask_fault" in info:
            index = int(np.flatnonzero(info["_action_mask_fault"])[0])
            raise FaultyEnvironment(f"environment {index}: {info['action_mask_fault'][index]}")
        return info["action_mask"]

    def faults(self) -> dict[str, int]:
        """How often processes were started again, and episodes cut for a number that is not finite."""
        return {"restarts": getattr(self._envs, "restarts", 0), "skipped": self._skipped}

    def picture(self) -> NDArray[np.uint8]:
        """What the first environment shows, ``[H, W, 3]``; made with ``renders=True``.

        Raises:
            FaultyEnvironment: it is no picture, or was not drawn.
        """
        try:
            pictures: Any = self._envs.render()
        except (Exception, SystemExit) as error:
            raise FaultyEnvironment(f"expected render to give a picture, got {raised(error)}") from error
        return picture_of(pictures[0])

    def close(self) -> None:
        """Close the environments."""
        self._envs.close()


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
            start: Any = self.env.reset(seed=seed, options=options or None)
            if type(start) is tuple and tuple(map(type, start)) == _USUAL_START:
                seen = start[0]
                if (seen.shape, seen.dtype) == self._layout:
                    return (seen, kept(start[1])) if start[1] else start
            return as_start(start, self._space)
        except (Exception, SystemExit) as error:
            return self._space.sample(), {FAULT: fault_of_error(error, "reset to give a new episode")}

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Step; the reward is a float, both ends are booleans."""
        try:
            result: Any = self.env.step(action)
            if type(result) is tuple and tuple(map(type, result)) == _USUAL_STEP:  # of most environments, mostly
                seen = result[0]
                if (seen.shape, seen.dtype) == self._layout:
                    return (*result[:4], kept(result[4])) if result[4] else result
            return as_step(result, self._space)
        except (Exception, SystemExit) as error:
            return self._space.sample(), 0.0, False, True, {FAULT: fault_of_error(error, "step to go on")}

    def close(self) -> None:
        """Close; nothing more is asked of the environment, so that one which fails at it does no harm."""
        with suppress(Exception):
            self.env.close()


def stepped(envs: VectorEnv[Any, Any, Any], action: NDArray[Any]) -> tuple[Any, ...]:
    """What ``envs.step`` returns, the rewards checked and as 32-bit floats.

    Raises:
        FaultyEnvironment: rewards or observations that do not fit side by side, or a reward that is not finite.
    """
    try:
        result, given, terminated, truncated, info = envs.step(action)
    except (TypeError, ValueError, KeyError, SystemExit) as error:
        raise _in_words(error) from error
    if given.shape != (envs.num_envs,):
        raise FaultyEnvironment(f"{NO_NUMBER}, got rewards of shape {list(given.shape[1:])}; use float(reward)")
    reward = given.astype(np.float32)
    if not np.isfinite(reward).all():
        index = int(np.flatnonzero(~np.isfinite(reward))[0])
        found = in_32_bits(given[index])
        raise FaultyEnvironment(f"environment {index}: expected a finite reward, got {found}; {REMEDY}")
    return result, reward, terminated, truncated, info


def check_observation(
    observation: Observation, space: spaces.Space[Any], terminated: NDArray[np.bool_] | None = None, name: str = ""
) -> None:
    """Every number is finite, but where an episode terminated: nothing is learnt of that one; every choice exists.

    Raises:
        FaultyEnvironment: one is not.
    """
    if isinstance(observation, dict):
        inner = space.spaces if isinstance(space, spaces.Dict | spaces.Tuple) else {}
        entries = inner if isinstance(inner, dict) else {str(number): entry for number, entry in enumerate(inner)}
        if observation.keys() != entries.keys():
            raise FaultyEnvironment(f"expected observation{name} in {space}, got the keys {[*observation]}; {REMEDY}")
        for key, entry_space in entries.items():
            check_observation(observation[key], entry_space, terminated, f"{name}[{key!r}]")
    elif isinstance(space, spaces.Discrete | spaces.MultiDiscrete | spaces.MultiBinary):
        _check_choice(observation, space, name)
    elif observation.dtype == np.float32 and not np.isfinite(observation).all():
        rows = observation.reshape(len(observation), -1)
        faulty = ~np.isfinite(rows).all(-1) & (True if terminated is None else ~terminated)
        for index in np.flatnonzero(faulty)[:1]:
            found = rows[index][~np.isfinite(rows[index])][0]
            raise FaultyEnvironment(f"environment {index}: expected a finite observation{name}, got {found}; {REMEDY}")


def _check_choice(
    observation: NDArray[Any], space: spaces.Discrete | spaces.MultiDiscrete | spaces.MultiBinary, name: str
) -> None:
    count = space.n if isinstance(space, spaces.Discrete) else getattr(space, "nvec", 2)
    first = getattr(space, "start", 0)
    is_outside = (observation < first) | (observation >= np.add(first, count, dtype=np.int64))  # int8 may overflow
    for index in np.flatnonzero(is_outside.reshape(len(observation), -1).any(-1))[:1]:
        found = observation[index].tolist()
        raise FaultyEnvironment(f"environment {index}: expected observation{name} in {space}, got {found}; {REMEDY}")


def check_told(info: Mapping[str, Any]) -> None:
    """No environment's ``Checked`` tells of a fault.

    Raises:
        FaultyEnvironment: one does.
    """
    if FAULT in info:
        index = int(np.flatnonzero(info[f"_{FAULT}"])[0])
        raise FaultyEnvironment(f"environment {index}: {info[FAULT][index]}")


def was_reset(envs: VectorEnv[Any, Any, Any], **choices: Any) -> tuple[Any, dict[str, Any]]:
    """What ``envs.reset`` returns.

    Raises:
        FaultyEnvironment: observations that do not fit side by side.
    """
    try:
        return envs.reset(**choices)
    except (TypeError, ValueError, KeyError, SystemExit) as error:
        raise _in_words(error) from error


def _in_words(error: Exception | SystemExit) -> BaseException:
    """The error in words, or as it is where an environment raised it."""
    fault = fault_of_vector(error)
    return error if fault is None else FaultyEnvironment(fault)


REMEDY = "mend the environment, or wrap it in one that does not give it"
_USUAL_START, _USUAL_STEP = (np.ndarray, dict), (np.ndarray, float, bool, bool, dict)
LATE_MASK = (
    "expected an environment to give its action masks from its first reset on, got the first one later; "
    "put info['action_mask'] into what reset returns as well"
)


def own_copy(observation: Any) -> Observation:
    """Arrays of our own: environments may reuse theirs. Floats become 32-bit, unsigned integers but bytes signed.

    >>> own_copy((np.zeros(2), {"on": np.ones(2, np.uint16)}))["1"]["on"].dtype
    dtype('int32')
    """
    if isinstance(observation, np.ndarray):
        dtype = observation.dtype
        return np.array(observation, dtype=np.float32 if dtype.kind == "f" else _TORCHS.get(dtype.name, dtype))
    entries = enumerate(observation) if isinstance(observation, tuple) else observation.items()
    return {str(key): own_copy(entry) for key, entry in entries}


_TORCHS = {"uint16": "i4", "uint32": "i8", "uint64": "i8", "int16": "i2", "int32": "i4", "int64": "i8"}
"""Torch can store the unsigned ones, but hardly do anything with them, and no bytes in another order."""


