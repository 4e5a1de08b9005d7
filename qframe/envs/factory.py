"""What a family of environments offers: the spaces, and copies for training, evaluation and video."""

from typing import Any, Protocol

from gymnasium import spaces

from qframe.envs.streams import Episodes, SeedOf


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
