"""Vector environments as streams of true transitions, whatever their way of resetting.

Gymnasium's vector environments reset in one of three modes. An adapter per mode gives the same answer: what happened
in this step, and the observation to act on next. No reset step ever looks like a transition, and the observation that
ended an episode is kept.
"""

import zlib
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv
from numpy.typing import NDArray

SeedOf = Callable[[int, int], int]
"""(environment's index, episode's number) → seed."""


class Step(NamedTuple):
    """One step of E environments."""

    next_observation: NDArray[Any]  # [E, …], after the step; an episode's last observation where it ended
    reward: NDArray[np.float32]  # [E]
    terminated: NDArray[np.bool_]  # [E]
    truncated: NDArray[np.bool_]  # [E]
    valid: NDArray[np.bool_] | None  # [E], False where the environment only reset itself; None: all stepped
    observation: NDArray[Any]  # [E, …], to act on next: the new episode's first where one ended


class Episodes(Protocol):
    """What the collector and the evaluation ask of environments."""

    num_envs: int
    has_episode_seeds: bool
    """Whether every episode has a seed of its own, so that it can be replayed alone."""
    episode: NDArray[np.int64]
    """The number of each environment's running episode, ``[E]``."""

    def start_at(self, episode: Sequence[int]) -> None: ...

    def reset(self) -> NDArray[Any]: ...

    def step(self, action: NDArray[Any]) -> Step: ...

    def close(self) -> None: ...


class SeededEpisodes:
    """Environments that reset when they are told (``AutoresetMode.DISABLED``): every episode has its own seed.

    Args:
        envs: a Gymnasium vector environment in that mode (sync or async).
        seed_of: gives the seed of each episode.
    """

    has_episode_seeds = True

    def __init__(self, envs: VectorEnv[Any, Any, Any], seed_of: SeedOf) -> None:
        self._envs, self._seed_of = envs, seed_of
        self.num_envs = envs.num_envs
        self.episode = np.zeros(envs.num_envs, dtype=np.int64)
        """The number of each environment's running episode, ``[E]``."""

    def start_at(self, episode: Sequence[int]) -> None:
        """Let the next ``reset`` start these episodes, one per environment."""
        self.episode[:] = episode

    def reset(self) -> NDArray[Any]:
        """Start an episode in every environment."""
        return self._restart(np.ones(self.num_envs, dtype=np.bool_))

    def step(self, action: NDArray[Any]) -> Step:
        """Step every environment, and start a new episode where one ended."""
        result, reward, terminated, truncated, _ = self._envs.step(action)
        next_observation = _copy(result)
        done = terminated | truncated
        self.episode += done
        observation = self._restart(done) if done.any() else next_observation
        return Step(next_observation, reward.astype(np.float32), terminated, truncated, None, observation)

    def _restart(self, done: NDArray[np.bool_]) -> NDArray[Any]:
        """Start a new episode, with its own seed, where ``done``."""
        seeds: Any = [self._seed_of(i, int(self.episode[i])) if ended else None for i, ended in enumerate(done)]
        return _copy(self._envs.reset(seed=seeds, options={"reset_mask": done})[0])

    def close(self) -> None:
        """Close the environments."""
        self._envs.close()


class SelfResettingEpisodes:
    """Environments that reset themselves (native vector environments): one seed for all, at the start.

    ``NEXT_STEP``: the step after an episode's end only resets; it is marked invalid. ``SAME_STEP``: the step that ends
    an episode returns the next one's observation, and the last one among the infos.

    Args:
        envs: a Gymnasium vector environment in one of these modes.
        seed_of: number of episodes so far → seed of the reset that starts all environments.

    Raises:
        ValueError: the environment does not say how it resets.
    """

    has_episode_seeds = False

    def __init__(self, envs: VectorEnv[Any, Any, Any], seed_of: Callable[[int], int]) -> None:
        mode = envs.metadata.get("autoreset_mode")
        if mode not in (AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP):
            raise ValueError(
                "expected a vector environment that names its autoreset_mode in metadata (next-step or same-step), "
                f"got {mode!r}; use vectorization=sync"
            )
        self._envs, self._seed_of = envs, seed_of
        self._same_step = mode == AutoresetMode.SAME_STEP
        self.num_envs = envs.num_envs
        self._resets_next = np.zeros(envs.num_envs, dtype=np.bool_)
        self.episode = np.zeros(envs.num_envs, dtype=np.int64)

    def start_at(self, episode: Sequence[int]) -> None:
        """Go on counting from these episodes; the seed of the first reset follows their number."""
        self.episode[:] = episode

    def reset(self) -> NDArray[Any]:
        """Start an episode in every environment."""
        self._resets_next[:] = False
        return _copy(self._envs.reset(seed=self._seed_of(int(self.episode.sum())))[0])

    def step(self, action: NDArray[Any]) -> Step:
        """Step every environment; those whose episode ended a step ago only reset."""
        result, reward, terminated, truncated, info = self._envs.step(action)
        observation = _copy(result)
        reward, terminated, truncated = reward.astype(np.float32), terminated.astype(bool), truncated.astype(bool)
        self.episode += terminated | truncated
        if self._same_step:
            next_observation = _with_final(observation, info, terminated | truncated)
            return Step(next_observation, reward, terminated, truncated, None, observation)
        valid = ~self._resets_next
        self._resets_next = (terminated | truncated) & valid
        return Step(observation, reward, terminated, truncated, None if valid.all() else valid, observation)

    def close(self) -> None:
        """Close the environments."""
        self._envs.close()


def _with_final(observation: NDArray[Any], info: dict[str, Any], done: NDArray[np.bool_]) -> NDArray[Any]:
    """The observations after the step: those of the infos where an episode ended."""
    if not done.any():
        return observation
    final = observation.copy()
    for index in np.flatnonzero(done):
        final[index] = info["final_obs"][index]
    return final


def _copy(observation: NDArray[Any]) -> NDArray[Any]:
    """An array of our own: environments may reuse theirs. Floats become 32-bit."""
    is_float = np.issubdtype(observation.dtype, np.floating)
    return np.array(observation, dtype=np.float32 if is_float else observation.dtype)


def derive_seed(seed: int, *path: str | int) -> int:
    """The seed of one part of a run, such as ``derive_seed(1, "train", env_index, episode)``.

    Parts are derived independently: adding one changes no other part's stream. Names enter by a checksum, so that
    the result is the same on every machine and in every process.

    Args:
        seed: the run's seed, at least 0.
        path: names and numbers that lead to the part.

    Returns:
        A number in [0, 2³¹).

    >>> derive_seed(1, "network") == derive_seed(1, "network"), derive_seed(1, "a") == derive_seed(1, "b")
    (True, False)
    """
    key = tuple(zlib.crc32(part.encode()) if isinstance(part, str) else part for part in path)
    return int(np.random.SeedSequence(seed, spawn_key=key).generate_state(1)[0] >> 1)
