"""Running episodes played again: an environment's state is its episode's seed and the actions taken since."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qframe.envs.streams import FaultyEnvironment, SeedOf, Start, Step

LONGEST_REPLAY = 100_000
"""Steps of an episode; a longer one is not played again: it would take too long, and its actions too much memory."""

SHORTEST_ROOM = 1_024
"""Steps whose actions there is room for at first."""


class ReplayedEpisodes:
    """Environments with a seed per episode, as far as their running episodes can be played again.

    Args:
        num_envs: E.
        seed_of: gives the seed of each episode.
        is_deterministic: whether an episode's seed and actions determine it.
    """

    def __init__(self, num_envs: int, seed_of: SeedOf, *, is_deterministic: bool) -> None:
        self.num_envs = num_envs
        self.episode = np.zeros(num_envs, dtype=np.int64)
        """The number of each environment's running episode, ``[E]``."""
        self._seed_of, self._remembers = seed_of, is_deterministic
        # Every step's, back to the start of the longest running episode. An array of its own for each step, kept that
        # long, would tear the free memory apart that the next observations are to take.
        self._actions: NDArray[Any] = np.zeros((0, num_envs), np.int64)
        self._taken = 0  # how many of these rows there are
        self._began = np.zeros(num_envs, dtype=np.int64)  # with which of these each running episode began

    def reset(self) -> Start:
        """Start an episode in every environment."""
        self._taken = 0
        return self._restart(np.ones(self.num_envs, dtype=np.bool_), None)

    def step(self, action: NDArray[Any]) -> Step:
        """Step every environment."""
        raise NotImplementedError

    def _restart(self, done: NDArray[np.bool_], mask: NDArray[np.bool_] | None) -> Start:
        """Start a new episode, with its own seed, where ``done``; ``mask`` stays that of the others."""
        raise NotImplementedError

    def faults(self) -> dict[str, int]:
        """None: where there are some, they are errors."""
        return {}

    def start_at(self, episode: Sequence[int]) -> None:
        """Let the next ``reset`` start these episodes, one per environment."""
        self.episode[:] = episode

    @property
    def can_replay(self) -> bool:
        """Whether the running episodes can be played again: the environment says so, and none of them is too long."""
        return self._remembers and self._taken - int(self._began.min()) <= LONGEST_REPLAY

    def played(self) -> dict[str, Any]:
        """What ``replay`` plays: number and length of each running episode, and all actions ``[T, E, …]`` since."""
        self._forget()
        return {
            "episode": self.episode.tolist(),
            "length": (self._taken - self._began).tolist(),
            "actions": self._actions[: self._taken].copy(),
        }

    def replay(self, played: Mapping[str, Any]) -> tuple[Start, NDArray[np.float64]] | None:
        """Play the running episodes again, to where they were.

        The longest one sets the pace. The others play along with it, seed and actions alike, until it is time to begin
        their own: so none ever ends meanwhile, or is told an action that is illegal.

        Returns:
            What to act on next, and the returns ``[E]`` so far; None where they are not the same.
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
        """Start every environment, with the episode of ``longest`` where not with its own."""
        own, number = self._seed_of, int(self.episode[longest])
        self._seed_of = lambda index, episode: own(index, episode) if is_own[index] else own(longest, number)
        try:
            return self.reset()
        finally:
            self._seed_of = own

    def _make_room(self, action: NDArray[Any]) -> None:
        """Make room for actions like these: of as many more steps, but of no more than can be played again."""
        self._forget()
        more = max(SHORTEST_ROOM, min(self._taken, LONGEST_REPLAY))
        room = np.empty((self._taken + more, *action.shape), action.dtype)
        if self._taken:
            room[: self._taken] = self._actions[: self._taken]
        self._actions = room

    def _forget(self) -> None:
        """Drop the actions from before all running episodes; where one of them is too long, all."""
        oldest = int(self._began.min())
        if self._taken - oldest > LONGEST_REPLAY:
            oldest = self._taken - LONGEST_REPLAY - 1
        self._actions, self._taken = self._actions[oldest : self._taken], self._taken - oldest
        self._began -= oldest
