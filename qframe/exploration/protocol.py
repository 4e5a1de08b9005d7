"""The interface of an exploration strategy, as the collector uses it."""

from collections.abc import Mapping
from typing import Any, Protocol

from torch import Tensor


class Exploration(Protocol):
    """Turns greedy actions into behaviour. A subclass defines ``explore``, and what else differs from the defaults.

    Actions are indices ``[E]``, or ``[E, D]`` with one per branch of a joint action; masks and action values are
    ``[E, A]``, those of all branches side by side.
    """

    has_probability: bool = False
    """Whether ``probability`` is defined; an estimator that needs it (Retrace) is refused otherwise."""

    reads_members: bool = False
    """Whether ``explore`` reads every ensemble member's action values ``[K, E, A]`` instead of their mean."""

    @property
    def metrics(self) -> Mapping[str, float]:
        """Metrics to log under ``exploration/``."""
        return {}

    def explore(self, action: Tensor, mask: Tensor | None = None, value: Tensor | None = None) -> Tensor:
        """The actions to take instead of the greedy ``action``, all of them legal.

        Args:
            action: greedy indices, returned unchanged if exploration is off.
            mask: legal actions, bool; None: all are.
            value: action values, for strategies that read them.

        Raises:
            RuntimeError: an environment has no legal action; the message names it.
        """
        ...

    def probability(self, action: Tensor, value: Tensor, mask: Tensor | None = None) -> Tensor:
        """μ(a|s) ``[E]``: how likely the behaviour policy, as it is now, was to take the action it has just taken.

        Args:
            action: indices, as ``explore`` gave them.
            value: action values, those that the greedy actions come from.
            mask: legal actions.

        Raises:
            RuntimeError: it is not defined, because an action depends on the steps before it.
        """
        raise RuntimeError(
            f"{type(self).__name__} exploration defines no probability of a single step, as an action depends on the "
            "steps before it; use exploration=epsilon_greedy or exploration=boltzmann"
        )

    def stored(self) -> dict[str, Tensor]:
        """Further entries ``[E, …]`` to store with the transitions of the actions just taken."""
        return {}

    def step(self, frames: int = 1, done: Tensor | None = None) -> None:
        """Count environment steps.

        Args:
            frames: steps, summed over environments.
            done: where an episode ended, bool ``[E]``; None: nowhere.
        """

    def state_dict(self) -> dict[str, Any]:
        """The state that a run resumes from, generators included."""
        return {}

    def load_state_dict(self, state_dict: Any) -> Any:
        """Restore a saved state."""
