"""Vector environments that reset themselves, as streams of true transitions."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv
from numpy.typing import NDArray

from qframe.envs.episodes import LATE_MASK, check_observation, own_copy, stepped, was_reset
from qframe.envs.masks import MASK, native_masks
from qframe.envs.streams import FaultyEnvironment, Observation, Start, Step


class SelfResettingEpisodes:
    """Environments that reset themselves (native vector environments): one seed for all, at the start.

    ``NEXT_STEP``: the step after an episode's end only resets; it is marked invalid. ``SAME_STEP``: the step that ends
    an episode returns the next one's observation, and the last one among the infos.

    Args:
        envs: a Gymnasium vector environment in one of these modes.
        seed_of: number of episodes so far → seed of the reset that starts all environments.
        has_masks: whether the environments have action masks; they must then stand in the infos.

    Raises:
        ValueError: the environment does not say how it resets.
        FaultyEnvironment: by ``reset`` and ``step``, what an environment gave cannot be trained on.
    """

    has_episode_seeds = False

    def __init__(
        self, envs: VectorEnv[Any, Any, Any], seed_of: Callable[[int], int], *, has_masks: bool = False
    ) -> None:
        mode = envs.metadata.get("autoreset_mode")
        if mode not in (AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP):
            raise ValueError(
                "expected a vector environment that names its autoreset_mode in metadata (next-step or same-step), "
                f"got {mode!r}; use vectorization=sync"
            )
        self._envs, self._seed_of, self._has_masks = envs, seed_of, has_masks
        self._same_step = mode == AutoresetMode.SAME_STEP
        self.num_envs = envs.num_envs
        self._resets_next = np.zeros(envs.num_envs, dtype=np.bool_)
        self.episode = np.zeros(envs.num_envs, dtype=np.int64)
        self.step_info: Mapping[str, Any] = {}
        """What the environments told with their last step."""

    @property
    def can_replay(self) -> bool:
        """No: where an episode began, its environment's generator was amid those of all the others."""
        return False

    def played(self) -> dict[str, Any]:
        """The number of each environment's running episode."""
        return {"episode": self.episode.tolist()}

    def replay(self, played: Mapping[str, Any]) -> None:
        """There is none."""

    def faults(self) -> dict[str, int]:
        """None: where there are some, they are errors."""
        return {}

    def start_at(self, episode: Sequence[int]) -> None:
        """Go on counting from these episodes; the seed of the first reset follows their number."""
        self.episode[:] = episode

    def reset(self) -> Start:
        """Start an episode in every environment."""
        self._resets_next[:] = False
        result, info = was_reset(self._envs, seed=self._seed_of(int(self.episode.sum())))
        observation = own_copy(result)
        check_observation(observation, self._envs.single_observation_space)
        return Start(observation, self._mask(info, np.zeros(self.num_envs, dtype=np.bool_)))

    def step(self, action: NDArray[Any]) -> Step:
        """Step every environment; those whose episode ended a step ago only reset."""
        result, reward, terminated, truncated, info = stepped(self._envs, action)
        self.step_info = info
        observation, terminated, truncated = own_copy(result), terminated.astype(bool), truncated.astype(bool)
        space = self._envs.single_observation_space
        done = terminated | truncated
        self.episode += done
        if self._same_step:
            mask = self._mask(info, np.zeros_like(done))
            final, final_mask = _with_final(observation, info, done), self._with_final_mask(mask, info, done)
            check_observation(observation, space)
            check_observation(final, space, terminated)
            return Step(final, reward, terminated, truncated, None, observation, final_mask, mask)
        check_observation(observation, space, terminated)
        mask = self._mask(info, done)
        valid = ~self._resets_next
        self._resets_next = done & valid
        is_mixed = not valid.all()
        return Step(observation, reward, terminated, truncated, valid if is_mixed else None, observation, mask, mask)

    def _mask(self, info: Mapping[str, Any], done: NDArray[np.bool_]) -> NDArray[np.bool_] | None:
        """The masks ``[E, A]`` of the infos, checked."""
        if not self._has_masks:
            if MASK in info:
                raise FaultyEnvironment(LATE_MASK)
            return None
        given = info.get(f"_{MASK}", np.full(self.num_envs, MASK in info))
        found = info.get(MASK, [None] * self.num_envs)
        checked = native_masks(found, given, self._envs.single_action_space, done)
        for index, (_, fault) in enumerate(checked):
            if fault is not None:
                raise FaultyEnvironment(f"environment {index}: {fault}; or use env.vectorization=sync")
        return np.stack([mask for mask, _ in checked])

    def _with_final_mask(
        self, mask: NDArray[np.bool_] | None, info: Mapping[str, Any], done: NDArray[np.bool_]
    ) -> NDArray[np.bool_] | None:
        """The masks after the step: those of the final infos where an episode ended."""
        if mask is None or not done.any():
            return mask
        final = self._mask({MASK: [None] * self.num_envs, **info.get("final_info", {})}, np.ones_like(done))
        return np.where(done[:, None], final, mask)  # pyright: ignore[reportCallIssue, reportArgumentType]

    def picture(self) -> NDArray[np.uint8]:
        """Nothing: episodes are shown where each has a seed.

        Raises:
            ValueError: always.
        """
        raise ValueError("expected environments made by make_seeded for pictures, got those that reset themselves")

    def close(self) -> None:
        """Close the environments."""
        self._envs.close()


def _with_final(observation: Observation, info: Mapping[str, Any], done: NDArray[np.bool_]) -> Observation:
    """The observations after the step: those of the infos where an episode ended."""
    if not done.any():
        return observation
    final = own_copy(observation)
    for index in np.flatnonzero(done):
        _put(final, int(index), info["final_obs"][index])
    return final


def _put(observation: Observation, index: int, row: Any) -> None:
    """Write one environment's observation, nested as its space is, into those of all."""
    if isinstance(observation, np.ndarray):
        observation[index] = row
        return
    for key, entries in observation.items():
        _put(entries, index, row[int(key)] if isinstance(row, tuple) else row[key])
