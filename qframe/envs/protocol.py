"""What the rest of qframe asks of environments: a choice of them (``Envs``), and their episodes (``Episodes``)."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol, TypeAlias

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from qframe.errors import RunError

Observation: TypeAlias = "NDArray[Any] | dict[str, Observation]"
"""Of E environments: an array ``[E, …]``, or one by key where the space is a Dict, or by "0", "1", … for a Tuple."""

SeedOf = Callable[[int, int], int]
"""(environment's index, episode's number) → seed."""


class FaultyEnvironment(RunError):
    """An environment gave something that cannot be trained on; the run's last checkpoint stays as it is."""


class Start(NamedTuple):
    """What E environments begin with."""

    observation: Observation  # [E, …]
    mask: NDArray[np.bool_] | None = None  # [E, A], legal actions, the branches' side by side; None: all, always


class Step(NamedTuple):
    """One step of E environments."""

    next_observation: Observation  # [E, …], after the step; an episode's last observation where it ended
    reward: NDArray[np.float32]  # [E]
    terminated: NDArray[np.bool_]  # [E]
    truncated: NDArray[np.bool_]  # [E]
    valid: NDArray[np.bool_] | None  # [E], False where the environment only reset itself; None: all stepped
    observation: Observation  # [E, …], to act on next: the new episode's first where one ended
    next_mask: NDArray[np.bool_] | None = None  # [E, A], legal actions after the step; None: all, always
    mask: NDArray[np.bool_] | None = None  # [E, A], legal actions to choose from next
    life_lost: NDArray[np.bool_] | None = None  # [E], where learning is to see an end and the game goes on


class Episodes(Protocol):
    """What the collector and the evaluation ask of environments."""

    num_envs: int
    has_episode_seeds: bool
    """Whether every episode has a seed of its own, so that it can be replayed alone."""
    episode: NDArray[np.int64]
    """The number of each environment's running episode, ``[E]``."""

    @property
    def can_replay(self) -> bool:
        """Whether the running episodes can be played again: from their seeds, by the actions taken since."""
        ...

    def played(self) -> dict[str, Any]:
        """What ``replay`` plays: how the running episodes came to where they are."""
        ...

    def replay(self, played: Mapping[str, Any]) -> tuple[Start, NDArray[np.float64]] | None:
        """Play them again: what to act on next and the returns ``[E]`` so far; None where they are not the same."""
        ...

    def start_at(self, episode: Sequence[int]) -> None: ...

    def reset(self) -> Start: ...

    def step(self, action: NDArray[Any]) -> Step: ...

    def faults(self) -> dict[str, int]:
        """How often processes were started again (``restarts``) and episodes cut for a number (``skipped``)."""
        ...

    def picture(self) -> NDArray[np.uint8]: ...

    def close(self) -> None: ...


class Envs(Protocol):
    """A choice of environment, from which training and evaluation make their own copies."""

    id: str
    num_envs: int
    vectorization: str
    observation_space: spaces.Space[Any]
    action_space: spaces.Space[Any]
    has_masks: bool
    """Whether the environments give action masks."""
    pictures_per_second: float | None
    """How fast pictures of what happens are to be shown; None: they draw none."""
    protocol: dict[str, Any]
    """The settings that a score depends on, to be written beside it."""

    def make(self, seed: int) -> Episodes:
        """The training environments; every episode's seed is derived from ``seed``, its environment and its number."""
        ...

    def make_seeded(
        self, num_envs: int, seed_of: SeedOf, *, max_episode_steps: int | None = None, renders: bool = False
    ) -> Episodes:
        """Environments whose every episode has the seed that ``seed_of`` gives, as evaluation needs.

        Args:
            num_envs: how many.
            seed_of: gives the seed of each episode.
            max_episode_steps: where the environment has no limit of its own, episodes are truncated after so many.
            renders: whether what they show can be asked for.
        """
        ...
