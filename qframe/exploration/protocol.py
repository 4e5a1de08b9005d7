"""The interface of an exploration strategy, as the collector uses it."""

from collections.abc import Mapping
from typing import Any, Protocol

from torch import Tensor


class Exploration(Protocol):
    """Turns greedy actions into behaviour.

    Actions are indices ``[E]``, or ``[E, D]`` with one per branch of a joint action; masks and action values are
    ``[E, A]``, those of all branches side by side.
    """

    has_probability: bool
    """Whether ``probability`` is defined; an estimator that needs it (Retrace) is refused otherwise."""

    reads_members: bool
    """Whether ``explore`` reads every ensemble member's action values ``[K, E, A]`` instead of their mean."""

    @property
    def metrics(self) -> Mapping[str, float]:
        """Metrics to log under ``exploration/``."""
        ...

    def explore(self, action: Tensor, mask: Tensor | None = None, value: Tensor | None = None) -> Tensor:
        """The actions to take instead of the greedy ``action``, all of them legal.

        Args:
            action: greedy indices.
            mask: legal actions, bool; None: all are.
            value: action values, for strategies that read them.

        Raises:
            RuntimeError: an environment has no legal action; the message names it.
        """
        ...

    def probability(self, action: Tensor, value: Tensor, mask: Tensor | None = None) -> Tensor:
        """μ(a|s) ``[E]``: how likely the behaviour policy, as it is now, was to take the action it has just taken."""
        ...

    def stored(self) -> dict[str, Tensor]:
        """Further entries ``[E, …]`` to store with the transitions of the actions just taken."""
        ...

    def step(self, frames: int = 1, done: Tensor | None = None) -> None:
        """Count environment steps.

        Args:
            frames: steps, summed over environments.
            done: where an episode ended, bool ``[E]``; None: nowhere.
        """
        ...

    def state_dict(self) -> dict[str, Any]:
        """The state that a run resumes from, generators included."""
        ...

    def load_state_dict(self, state_dict: Any) -> Any:
        """Restore a saved state."""
        ...
