"""The interface of a collector, in this process or in a worker."""

from typing import Any, Protocol

from tensordict import TensorDict

from qframe.envs import Episodes
from qframe.training.episode_statistics import Finished


class CollectorProtocol(Protocol):
    """Steps the environments with the behaviour policy."""

    envs: Episodes

    def collect(self) -> TensorDict:
        """Take one step of every environment.

        Returns:
            The transitions ``[k]`` of the environments that did not merely reset themselves.
        """
        ...

    def take_episodes(self) -> Finished:
        """The episodes that have ended since the last call."""
        ...

    def exploration_metrics(self) -> dict[str, float]:
        """The metrics of exploration, such as epsilon."""
        ...

    def actor_metrics(self) -> dict[str, float]:
        """The metrics of each actor since the last call: frames per second, lag in messages, and restarts."""
        return {}

    def faults(self) -> dict[str, int]:
        """The nonzero counts of environments restarted and of episodes cut because of a fault."""
        ...

    def can_resume(self) -> bool:
        """Whether running episodes can be resumed in another process."""
        ...

    def resume_episodes(self, running: dict[str, Any] | None) -> bool:
        """Replay the running episodes of a state before the first step; abandon them if they differ.

        Returns:
            Whether observations, legal actions and returns so far are the same, bit for bit.
        """
        ...

    def abandon_episodes(self) -> None:
        """Abandon the running episodes; the next step begins new ones."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """Everything that acting resumes from."""
        ...

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Resume from ``state``, before the first step; ``resume_episodes`` then restores the running episodes."""
        ...

    def close(self) -> None:
        """Close the environments."""
        ...
