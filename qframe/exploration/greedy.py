"""No exploration: the agent takes the greedy action."""

from typing import Any

import torch
from torch import Tensor

from qframe.actions import AnyActionSpace, as_action_space


class Greedy:
    """Always takes the greedy action, for environments or networks that are random enough by themselves.

    Args:
        action_space: of the environment, or the action's spec.

    >>> from qframe.actions import Categorical
    >>> Greedy(Categorical(3)).explore(torch.tensor([2, 0]))
    tensor([2, 0])
    """

    has_probability = True
    reads_members = False

    def __init__(self, action_space: AnyActionSpace) -> None:
        self._action_space = as_action_space(action_space)

    @property
    def metrics(self) -> dict[str, float]:
        """Nothing to log."""
        return {}

    def step(self, frames: int = 1, done: Tensor | None = None) -> None:
        """Nothing changes over time."""

    def explore(self, action: Tensor, mask: Tensor | None = None, value: Tensor | None = None) -> Tensor:
        """The greedy action ``[E]`` or ``[E, D]``, unchanged.

        Raises:
            RuntimeError: an environment has no legal action in ``mask`` ``[E, A]``; the message names it.
        """
        if mask is not None:
            self._action_space.check_mask(mask)
        return action

    def probability(self, action: Tensor, value: Tensor, mask: Tensor | None = None) -> Tensor:
        """1 for the action taken, ``[E]``."""
        return torch.ones(self._action_space.batch(action))

    def stored(self) -> dict[str, Tensor]:
        """Nothing is stored with transitions."""
        return {}

    def state_dict(self) -> dict[str, Any]:
        """Nothing to keep."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Nothing to restore."""
