"""Vector environments as streams of transitions: replayable, with a seed per episode, or self-resetting.

Gymnasium's vector environments reset in one of three modes. With every mode a step returns the same: the transition
that happened, and the observation to act on next. A reset step never looks like a transition, and the last observation
of an episode is kept.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv
from numpy.typing import NDArray

from qframe.envs.checks import (
    LATE_MASK,
    REMEDY,
    SKIPPED,
    check_infos,
    check_observation,
    picture_of,
    raised,
    stepped,
    was_reset,
)
from qframe.envs.infos import vector_numbers
from qframe.envs.masks import MASK, native_masks
from qframe.envs.observations import own_copy
from qframe.envs.protocol import Episodes, FaultyEnvironment, Observation, SeedOf, Start, Step
from qframe.envs.seeding import derive_seed

LONGEST_REPLAY = 100_000
"""Steps of the longest episode that is replayed; a longer one would take too much time, and memory for its actions."""

SHORTEST_ROOM = 1_024
"""Steps for whose actions memory is allocated at first."""


class ReplayedEpisodes(Episodes):
    """Remembers the actions of running episodes and replays them: an environment's state is its seed plus its actions.

    Args:
        num_envs: E.
        seed_of: gives the seed of each episode.
        is_deterministic: whether an episode is determined by its seed and actions.
    """

    def __init__(self, num_envs: int, seed_of: SeedOf, *, is_deterministic: bool) -> None:
        self.num_envs = num_envs
        self.episode = np.zeros(num_envs, dtype=np.int64)
        self._seed_of, self._remembers = seed_of, is_deterministic
        # The actions of every step since the longest running episode began. Arrays of one step each, kept that long,
        # would fragment the memory that the next observations need.
        self._actions: NDArray[Any] = np.zeros((0, num_envs), np.int64)
        self._taken = 0  # number of rows in use
        self._began = np.zeros(num_envs, dtype=np.int64)  # the row at which each running episode began

    def number_from(self, first: int) -> None:
        own = self._seed_of
        self._seed_of = lambda index, episode: own(first + index, episode)

    def reset(self) -> Start:
        self._taken = 0
        return self._restart(np.ones(self.num_envs, dtype=np.bool_), None)

    def _restart(self, done: NDArray[np.bool_], mask: NDArray[np.bool_] | None) -> Start:
        """Start a new episode, with its own seed, where ``done``; elsewhere the action mask stays ``mask``."""
        raise NotImplementedError

    @property
    def can_replay(self) -> bool:
        """Whether the running episodes can be replayed: the environment is deterministic, and none is too long."""
        return self._remembers and self._taken - int(self._began.min()) <= LONGEST_REPLAY

    def played(self) -> dict[str, Any]:
        """The record for ``replay``: number and length of each running episode, and their actions ``[T, E, …]``."""
        self._forget()
        return {
            "episode": self.episode.tolist(),
            "length": (self._taken - self._began).tolist(),
            "actions": self._actions[: self._taken].copy(),
        }

    def replay(self, played: Mapping[str, Any]) -> tuple[Start, NDArray[np.float64]] | None:
        """Replay recorded episodes up to the step at which they were recorded.

        The longest one sets the pace. Until its own episode is due to begin, every other environment plays a copy of
        the longest one, with the same seed and actions: so no episode ends early, and every action is legal.
        """
        length, actions = np.array(played["length"]), played["actions"]
        self.start_at(played["episode"])
        try:
            found = self._play(length, actions)
        except FaultyEnvironment:
            return None
        self._actions, self._taken, self._began = actions.copy(), len(actions), len(actions) - length
        return found

    def _play(self, length: NDArray[np.int64], actions: NDArray[Any]) -> tuple[Start, NDArray[np.float64]] | None:
        longest, returns = int(length.argmax()), np.zeros(self.num_envs, np.float64)
        start = self._begin(longest, length == len(actions))
        for step, action in enumerate(actions):
            begins, has_begun = length == len(actions) - step, length >= len(actions) - step
            if step and begins.any():
                start, returns[begins] = self._restart(begins, start.mask), 0.0
            is_own = has_begun.reshape(-1, *[1] * (action.ndim - 1))
            taken = self.step(np.where(is_own, action, action[longest]))
            if (taken.terminated | taken.truncated).any():
                return None
            start = Start(taken.observation, taken.mask)
            returns += taken.reward
        if len(actions) and (begins := length == 0).any():
            start, returns[begins] = self._restart(begins, start.mask), 0.0
        return start, returns

    def _begin(self, longest: int, is_own: NDArray[np.bool_]) -> Start:
        """Start every environment with its own episode, or else with that of the environment ``longest``."""
        own, number = self._seed_of, int(self.episode[longest])
        self._seed_of = lambda index, episode: own(index, episode) if is_own[index] else own(longest, number)
        try:
            return self.reset()
        finally:
            self._seed_of = own

    def _make_room(self, action: NDArray[Any]) -> None:
        """Double the room for actions, up to the longest episode that can be replayed."""
        self._forget()
        more = max(SHORTEST_ROOM, min(self._taken, LONGEST_REPLAY))
        room = np.empty((self._taken + more, *action.shape), action.dtype)
        if self._taken:
            room[: self._taken] = self._actions[: self._taken]
        self._actions = room

    def _forget(self) -> None:
        """Drop actions older than all running episodes, or than the longest that can be replayed."""
        oldest = int(self._began.min())
        if self._taken - oldest > LONGEST_REPLAY:
            oldest = self._taken - LONGEST_REPLAY - 1
        self._actions, self._taken = self._actions[oldest : self._taken], self._taken - oldest
        self._began -= oldest


class SeededEpisodes(ReplayedEpisodes):
    """Environments that reset on request (``AutoresetMode.DISABLED``): every episode has its own seed.

    Args:
        envs: a Gymnasium vector environment in that mode (sync or async); environments with action masks are wrapped in
            ``ActionMasks``.
        seed_of: gives the seed of each episode.
        has_masks: whether the environments have action masks.
        is_deterministic: whether an episode is determined by its seed and actions.
        log_info: the keys of the numbers that steps report from the infos.
    """

    has_episode_seeds = True

    def __init__(
        self,
        envs: VectorEnv[Any, Any, Any],
        seed_of: SeedOf,
        *,
        has_masks: bool = False,
        is_deterministic: bool = True,
        log_info: tuple[str, ...] = (),
    ) -> None:
        super().__init__(envs.num_envs, seed_of, is_deterministic=is_deterministic)
        self.log_info = log_info
        self._envs, self._has_masks, self._skipped = envs, has_masks, 0
        self.stays_in_process: bool = getattr(envs, "stays_in_process", False)
        """Whether the environments cannot be stepped in a forked process."""
        self.step_info: Mapping[str, Any] = {}
        """The infos of the last step."""
        self.reset_info: Mapping[str, Any] = {}
        """The infos of the last reset."""

    def step(self, action: NDArray[Any]) -> Step:
        # Environments may change an action that is an array.
        lent = action.copy() if action.ndim > 1 else action
        result, reward, terminated, truncated, self.step_info = stepped(self._envs, lent)
        check_infos(self.step_info)
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
        info = vector_numbers(self.step_info, self.log_info, self.num_envs) if self.log_info else None
        return Step(
            next_observation, reward, terminated, truncated, None, start.observation, next_mask, start.mask, info=info
        )

    def _restart(self, done: NDArray[np.bool_], mask: NDArray[np.bool_] | None) -> Start:
        self._began[done] = self._taken
        seeds: Any = [self._seed_of(i, int(self.episode[i])) if ended else None for i, ended in enumerate(done)]
        result, self.reset_info = was_reset(self._envs, seed=seeds, options={"reset_mask": done})
        check_infos(self.reset_info)
        first = self._mask(self.reset_info)
        if first is not None and mask is not None:
            first = np.where(done[:, None], first, mask)
        observation = own_copy(result)
        check_observation(observation, self._envs.single_observation_space)
        return Start(observation, first)

    def _mask(self, info: Mapping[str, Any]) -> NDArray[np.bool_] | None:
        """The masks ``[E, A]``; ``ActionMasks`` has checked them."""
        if not self._has_masks:
            if "action_mask" in info:
                raise FaultyEnvironment(LATE_MASK)
            return None
        if "action_mask_fault" in info:
            index = int(np.flatnonzero(info["_action_mask_fault"])[0])
            raise FaultyEnvironment(f"environment {index}: {info['action_mask_fault'][index]}")
        return info["action_mask"]

    def faults(self) -> dict[str, int]:
        return {"restarts": getattr(self._envs, "restarts", 0), "skipped": self._skipped}

    def picture(self) -> NDArray[np.uint8]:
        try:
            pictures: Any = self._envs.render()
        except (Exception, SystemExit) as error:
            raise FaultyEnvironment(f"render failed: {raised(error)}; {REMEDY}") from error
        return picture_of(pictures[0])

    def close(self) -> None:
        self._envs.close()


class SelfResettingEpisodes(Episodes):
    """Environments that reset themselves (native vector environments), with one seed for all of them at the start.

    ``NEXT_STEP``: the step after the end of an episode only resets; it is marked invalid. ``SAME_STEP``: the step that
    ends an episode returns the first observation of the next one, and the last observation among the infos.

    Args:
        envs: a Gymnasium vector environment in one of these modes.
        seed_of: number of episodes so far → seed of the reset that starts all environments.
        has_masks: whether the environments have action masks, which must then be in the infos.
        log_info: the keys of the numbers that steps report from the infos.

    Raises:
        ValueError: the vector environment does not declare how it resets.
    """

    def __init__(
        self,
        envs: VectorEnv[Any, Any, Any],
        seed_of: Callable[[int], int],
        *,
        has_masks: bool = False,
        log_info: tuple[str, ...] = (),
    ) -> None:
        mode = envs.metadata.get("autoreset_mode")
        if mode not in (AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP):
            raise ValueError(
                f"a vector environment must declare autoreset_mode in its metadata (next-step or same-step), but has "
                f"{mode!r}; use vectorization=sync"
            )
        self._envs, self._seed_of, self._has_masks, self.log_info = envs, seed_of, has_masks, log_info
        self._same_step = mode == AutoresetMode.SAME_STEP
        self.num_envs = envs.num_envs
        self._resets_next = np.zeros(envs.num_envs, dtype=np.bool_)
        self.episode = np.zeros(envs.num_envs, dtype=np.int64)
        self.step_info: Mapping[str, Any] = {}
        """The infos of the last step."""

    def number_from(self, first: int) -> None:
        """The environments start from a seed of their own, by the number of the first one."""
        own = self._seed_of
        self._seed_of = lambda episodes: derive_seed(own(episodes), first) if first else own(episodes)

    def reset(self) -> Start:
        self._resets_next[:] = False
        with _as_faults("reset"):
            result, info = was_reset(self._envs, seed=self._seed_of(int(self.episode.sum())))
            observation = own_copy(result)
        check_observation(observation, self._envs.single_observation_space)
        return Start(observation, self._mask(info, np.zeros(self.num_envs, dtype=np.bool_)))

    def step(self, action: NDArray[Any]) -> Step:
        """Step every environment; one whose episode has just ended only resets."""
        with _as_faults("step"):
            result, reward, terminated, truncated, info = stepped(self._envs, action)
            observation, terminated, truncated = own_copy(result), terminated.astype(bool), truncated.astype(bool)
        self.step_info = info
        space = self._envs.single_observation_space
        done = terminated | truncated
        self.episode += done
        if self._same_step:
            mask = self._mask(info, np.zeros_like(done))
            final, final_mask = _with_final(observation, info, done), self._with_final_mask(mask, info, done)
            check_observation(observation, space)
            check_observation(final, space, terminated)
            numbers = self._numbers(info, done)
            return Step(
                final, reward, terminated, truncated, None, observation, final_mask, mask, info=numbers
            )
        check_observation(observation, space, terminated)
        mask = self._mask(info, done)
        valid = ~self._resets_next
        self._resets_next = done & valid
        given, numbers = None if valid.all() else valid, self._numbers(info)
        return Step(observation, reward, terminated, truncated, given, observation, mask, mask, info=numbers)

    def _numbers(
        self, info: Mapping[str, Any], done: NDArray[np.bool_] | None = None
    ) -> NDArray[np.float64] | None:
        """The numbers of ``log_info``; where an episode is ``done`` in a step that also resets, its final ones."""
        if not self.log_info:
            return None
        numbers = vector_numbers(info, self.log_info, self.num_envs)
        if done is None or not done.any():
            return numbers
        final = vector_numbers(info.get("final_info", {}), self.log_info, self.num_envs)
        return np.where(done[:, None], final, numbers)

    def _mask(self, info: Mapping[str, Any], done: NDArray[np.bool_]) -> NDArray[np.bool_] | None:
        """The masks ``[E, A]`` of the infos, checked."""
        if not self._has_masks:
            if MASK in info:
                raise FaultyEnvironment(LATE_MASK)
            return None
        given = info.get(f"_{MASK}", np.full(self.num_envs, MASK in info))
        found = info.get(MASK, [None] * self.num_envs)
        checked = native_masks(found, given, self._envs.single_action_space, done)
        for index, (_, fault, _) in enumerate(checked):
            if fault is not None:
                raise FaultyEnvironment(f"environment {index}: {fault}; or use env.vectorization=sync")
        return np.stack([mask for mask, _, _ in checked])

    def _with_final_mask(
        self, mask: NDArray[np.bool_] | None, info: Mapping[str, Any], done: NDArray[np.bool_]
    ) -> NDArray[np.bool_] | None:
        """The masks after the step; where an episode ended, the last one from the final infos."""
        if mask is None or not done.any():
            return mask
        final = self._mask({MASK: [None] * self.num_envs, **info.get("final_info", {})}, np.ones_like(done))
        return np.where(done[:, None], final, mask)  # pyright: ignore[reportCallIssue, reportArgumentType]

    def close(self) -> None:
        self._envs.close()


@contextmanager
def _as_faults(method: str) -> Iterator[None]:
    """Raise any exception of a vector environment's method as its fault."""
    try:
        yield
    except FaultyEnvironment:
        raise
    except Exception as error:
        raise FaultyEnvironment(f"{method} of the vector environment failed: {raised(error)}") from error


def _with_final(observation: Observation, info: Mapping[str, Any], done: NDArray[np.bool_]) -> Observation:
    """The observations after the step; where an episode ended, its last one from the infos."""
    if not done.any():
        return observation
    final = own_copy(observation)
    try:
        for index in np.flatnonzero(done):
            _put(final, int(index), info["final_obs"][index])
    except (KeyError, IndexError, TypeError, ValueError) as missing:
        raise FaultyEnvironment(
            "a vector environment that resets in the same step must return the last observations of its episodes as "
            f"info['final_obs'], but: {raised(missing)}; or use env.vectorization=sync"
        ) from missing
    return final


def _put(observation: Observation, index: int, row: Any) -> None:
    """Write the observation of one environment, nested as its space is, into the observations of all."""
    if isinstance(observation, np.ndarray):
        observation[index] = row
        return
    for key, entries in observation.items():
        _put(entries, index, row[int(key)] if isinstance(row, tuple) else row[key])
