"""The protocols of environments: ``Envs`` is built from a config, and makes ``Episodes``, which are stepped."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol, TypeAlias

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from qframe.errors import RunError

Observation: TypeAlias = "NDArray[Any] | dict[str, Observation]"
"""Of E environments: an array ``[E, …]``, or observations by key for a Dict space, by "0", "1", … for a Tuple."""

SeedOf = Callable[[int, int], int | None]
"""(environment's index, episode's number) → seed; None: no episode is left, and the environment rests."""


class FaultyEnvironment(RunError):
    """An environment returned something that cannot be trained on. The run's last checkpoint stays valid."""


class Start(NamedTuple):
    """The first observations of E environments."""

    observation: Observation  # [E, …]
    mask: NDArray[np.bool_] | None = None  # [E, A], legal actions, branches side by side; None: all, always


class Step(NamedTuple):
    """One step of E environments."""

    next_observation: Observation  # [E, …], after the step; an episode's last observation where it ended
    reward: NDArray[np.float64]  # [E], as the environment gave it
    terminated: NDArray[np.bool_]  # [E]
    truncated: NDArray[np.bool_]  # [E]
    valid: NDArray[np.bool_] | None  # [E], False where the environment only reset itself; None: all True
    observation: Observation  # [E, …], to act on next: the first of a new episode where one ended
    next_mask: NDArray[np.bool_] | None = None  # [E, A], legal actions after the step; None: all, always
    mask: NDArray[np.bool_] | None = None  # [E, A], legal actions to choose from next
    life_lost: NDArray[np.bool_] | None = None  # [E], where learning sees an end although the game continues


class Episodes(Protocol):
    """E running environments, as the collector and the evaluation use them."""

    num_envs: int
    has_episode_seeds: bool
    """Whether every episode has its own seed, so that it can be replayed alone."""
    episode: NDArray[np.int64]
    """The number of each environment's running episode, ``[E]``."""

    @property
    def can_replay(self) -> bool:
        """Whether the running episodes can be replayed from their seeds and the actions taken since."""
        ...

    def played(self) -> dict[str, Any]:
        """The record of the running episodes that ``replay`` takes."""
        ...

    def replay(self, played: Mapping[str, Any]) -> tuple[Start, NDArray[np.float64]] | None:
        """Replay recorded episodes.

        Returns:
            The observations to act on next and the returns ``[E]`` so far; None if an episode came out differently.
        """
        ...

    def start_at(self, episode: Sequence[int]) -> None: ...

    def reset(self) -> Start: ...

    def step(self, action: NDArray[Any]) -> Step: ...

    def faults(self) -> dict[str, int]:
        """The number of processes restarted (``restarts``) and of episodes cut at a non-finite number (``skipped``)."""
        ...

    def picture(self) -> NDArray[np.uint8]: ...

    def close(self) -> None: ...


class Envs(Protocol):
    """An environment, of which training and evaluation make their own copies."""

    id: str
    num_envs: int
    vectorization: str
    observation_space: spaces.Space[Any]
    action_space: spaces.Space[Any]
    has_masks: bool
    """Whether the environments provide action masks."""
    pictures_per_second: float | None
    """The frame rate of videos; None if the environments cannot render."""
    protocol: dict[str, Any]
    """The settings that a score depends on; they are saved beside it."""

    def make(self, seed: int) -> Episodes:
        """The training environments; every episode's seed is derived from ``seed``, its environment and its number."""
        ...

    def make_seeded(
        self, num_envs: int, seed_of: SeedOf, *, max_episode_steps: int | None = None, renders: bool = False
    ) -> Episodes:
        """Environments in which ``seed_of`` gives the seed of every episode, as evaluation needs.

        Args:
            num_envs: number of environments.
            seed_of: gives the seed of each episode.
            max_episode_steps: truncates episodes, in steps, if the environment has no limit of its own.
            renders: whether ``picture`` is available.
        """
        ...
