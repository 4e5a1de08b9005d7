"""No exploration: the agent takes the greedy action."""

import torch
from torch import Tensor

from qframe.actions import AnyActionSpace, as_action_space
from qframe.exploration.protocol import Exploration


class Greedy(Exploration):
    """Always takes the greedy action, for environments or networks that are random enough by themselves.

    Args:
        action_space: of the environment, or the action's spec.

    >>> from qframe.actions import Categorical
    >>> Greedy(Categorical(3)).explore(torch.tensor([2, 0]))
    tensor([2, 0])
    """

    has_probability = True

    def __init__(self, action_space: AnyActionSpace) -> None:
        self._action_space = as_action_space(action_space)

    def explore(self, action: Tensor, mask: Tensor | None = None, value: Tensor | None = None) -> Tensor:
        if mask is not None:
            self._action_space.check_mask(mask)
        return action

    def probability(self, action: Tensor, value: Tensor, mask: Tensor | None = None) -> Tensor:
        return torch.ones(self._action_space.batch(action))
