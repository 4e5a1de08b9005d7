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
    info: NDArray[np.float64] | None = None  # [E, K], numbers of log_info: NaN if absent, ∞ if no finite number


class Episodes(Protocol):
    """E running environments, as the collector and the evaluation use them; the defaults are of those without replay.

    Raises:
        FaultyEnvironment: by ``reset`` and ``step``, if an environment returns something that cannot be trained on.
    """

    num_envs: int
    has_episode_seeds: bool = False
    """Whether every episode has its own seed, so that it can be replayed alone."""
    episode: NDArray[np.int64]
    """The number of each environment's running episode, ``[E]``."""
    log_info: tuple[str, ...] = ()
    """The keys of the K numbers that steps report from the infos."""

    @property
    def can_replay(self) -> bool:
        """Whether the running episodes can be replayed from their seeds and the actions taken since."""
        return False

    def played(self) -> dict[str, Any]:
        """The record of the running episodes that ``replay`` takes, their numbers at least."""
        return {"episode": self.episode.tolist()}

    def replay(self, played: Mapping[str, Any]) -> tuple[Start, NDArray[np.float64]] | None:
        """Replay recorded episodes.

        Returns:
            The observations to act on next and the returns ``[E]`` so far; None if an episode came out differently.
        """
        return None

    def number_from(self, first: int) -> None:
        """Make these environments ``first …`` of a run that steps its environments in several processes.

        Called before the first ``reset``. With a seed per episode, each environment plays the episodes that it would
        play in one process.

        Raises:
            ValueError: they cannot be a part of several.
        """
        if first:
            raise ValueError(f"{type(self).__name__} defines no number_from, so it cannot be split among actors")

    def start_at(self, episode: Sequence[int]) -> None:
        """Make the next ``reset`` start the episodes of these numbers, one per environment."""
        self.episode[:] = episode

    def reset(self) -> Start:
        """Start an episode in every environment."""
        ...

    def step(self, action: NDArray[Any]) -> Step:
        """Step every environment, and start a new episode where one ended."""
        ...

    def faults(self) -> dict[str, int]:
        """The number of processes restarted (``restarts``) and of episodes cut at a non-finite number (``skipped``)."""
        return {}

    def picture(self) -> NDArray[np.uint8]:
        """A picture of the first environment, ``[H, W, 3]``, if made with ``renders=True``.

        Raises:
            FaultyEnvironment: ``render`` failed, or returned no picture.
        """
        raise ValueError("these environments cannot render; use those of make_seeded with renders=True")

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
    mask_source: str | None = None
    """Where an action mask was found; None: nowhere."""
    note: str | None = None
    """A limit of these environments that is printed before training; None: there is none."""
    log_info: tuple[str, ...] = ()
    """The keys of infos whose numbers are logged; ``a.b`` is the entry b of the entry a."""

    def info_keys(self) -> list[str]:
        """The keys of the numbers in the infos of a step, tried out for a message."""
        return []

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
