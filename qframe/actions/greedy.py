"""The greedy rule of every action space, and the value of what it chooses.

Shapes: ``*B`` any batch, ``A`` actions (of all components together), ``D`` components of a joint action. Where there
is a mask, ``chosen_value`` takes the values after ``mask_values``: an illegal action is worth the lowest finite number.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from qframe.actions.specs.base import TensorSpec
from qframe.actions.specs.discrete import to_one_hot
from qframe.actions.specs.layout import ActionLayout, find_action_space
from qframe.functional.action import greedy, lowest, mask_values
from qframe.keys import ACTION, ACTION_VALUE, CHOSEN_ACTION_VALUE

Sizes = tuple[int, ...]


def greedy_action(layout: ActionLayout, value: Tensor, mask: Tensor | None = None) -> Tensor:
    """The action of the greatest value over legal actions, int64, written as the action space says.

    A tie goes to the first maximum. A row with NaN or with no legal action still gives an action of the space.

    Args:
        layout: the action space.
        value: action values ``[*B, A]`` of any dtype.
        mask: legal actions, bool, broadcastable to ``value``.

    Returns:
        categorical ``[*B]``; one-hot and mult-one-hot ``[*B, A]``; multi-categorical ``[*B, D]``; binary ``[*B, A]``.

    Raises:
        TypeError: the mask is not boolean.
        ValueError: the components do not add up to A.

    >>> greedy_action(ActionLayout("mult-one-hot", (2, 3)), torch.tensor([0.0, 1.0, 5.0, 5.0, 2.0]))
    tensor([0, 1, 1, 0, 0])
    """
    return _SELECT[layout.name](layout.sizes(value.shape[-1]), value, mask)


def chosen_value(layout: ActionLayout, value: Tensor, action: Tensor) -> Tensor:
    """The value of an action, in the dtype of the values: an entry, or a joint action's sum over components.

    NaN where the row has NaN. An entry that was not chosen has no part in it, ±inf included.

    Args:
        layout: the action space.
        value: action values ``[*B, A]``.
        action: as ``greedy_action`` gives it.

    Returns:
        ``[*B, 1]``.

    >>> chosen_value(ActionLayout("binary"), torch.tensor([1.5, -torch.inf, 2.0]), torch.tensor([1, 0, 1]))
    tensor([3.5000])
    """
    return _CHOSEN[layout.name](layout.sizes(value.shape[-1]), value, action)


def _per_component(sizes: Sizes, value: Tensor, mask: Tensor | None) -> list[Tensor]:
    masks = [None] * len(sizes) if mask is None else mask.expand_as(value).split(sizes, -1)
    return [greedy(part, legal) for part, legal in zip(value.split(sizes, -1), masks, strict=True)]


def _select_index(sizes: Sizes, value: Tensor, mask: Tensor | None) -> Tensor:
    return greedy(value, mask)


def _select_one_hot(sizes: Sizes, value: Tensor, mask: Tensor | None) -> Tensor:
    return to_one_hot(greedy(value, mask), value.shape[-1])


def _select_indices(sizes: Sizes, value: Tensor, mask: Tensor | None) -> Tensor:
    return torch.stack(_per_component(sizes, value, mask), -1)  # [*B, D]


def _select_one_hots(sizes: Sizes, value: Tensor, mask: Tensor | None) -> Tensor:
    indices = _per_component(sizes, value, mask)
    return torch.cat([to_one_hot(index, size) for index, size in zip(indices, sizes, strict=True)], -1)  # [*B, A]


def _select_bits(sizes: Sizes, value: Tensor, mask: Tensor | None) -> Tensor:
    return (mask_values(value, mask) > 0).long()


def _chosen_index(sizes: Sizes, value: Tensor, action: Tensor) -> Tensor:
    return value.gather(-1, action.unsqueeze(-1))


def _chosen_one_hot(sizes: Sizes, value: Tensor, action: Tensor) -> Tensor:
    return value.gather(-1, action.argmax(-1, keepdim=True))


def _chosen_indices(sizes: Sizes, value: Tensor, action: Tensor) -> Tensor:
    parts = zip(value.split(sizes, -1), action.split(1, -1), strict=True)
    return _joint_sum(torch.cat([part.gather(-1, index) for part, index in parts], -1))


def _chosen_one_hots(sizes: Sizes, value: Tensor, action: Tensor) -> Tensor:
    indices = [part.argmax(-1) for part in action.split(sizes, -1)]
    return _chosen_indices(sizes, value, torch.stack(indices, -1))


def _chosen_bits(sizes: Sizes, value: Tensor, action: Tensor) -> Tensor:
    counted = (action != 0) | value.isnan()
    return _sum(torch.where(counted, value, 0))


def _sum(parts: Tensor) -> Tensor:
    """The sum over the last dimension in the dtype of the parts; integers stay within their own range, ``[*B, 1]``."""
    total = parts.sum(-1, keepdim=True)
    if parts.dtype.is_floating_point:
        return total
    limits = torch.iinfo(parts.dtype)
    return total.clamp(limits.min, min(limits.max, torch.iinfo(total.dtype).max)).to(parts.dtype)


def _joint_sum(parts: Tensor) -> Tensor:
    """The sum ``[*B, 1]`` of the components' values; a component without a legal action makes it the lowest number."""
    floor = lowest(parts.dtype)
    if floor == 0:
        return _sum(parts)
    return torch.where((parts == floor).any(-1, keepdim=True), floor, _sum(parts))


_SELECT: dict[str, Callable[[Sizes, Tensor, Tensor | None], Tensor]] = {
    "categorical": _select_index,
    "one-hot": _select_one_hot,
    "mult-one-hot": _select_one_hots,
    "multi-categorical": _select_indices,
    "binary": _select_bits,
}
_CHOSEN: dict[str, Callable[[Sizes, Tensor, Tensor], Tensor]] = {
    "categorical": _chosen_index,
    "one-hot": _chosen_one_hot,
    "mult-one-hot": _chosen_one_hots,
    "multi-categorical": _chosen_indices,
    "binary": _chosen_bits,
}


class GreedyChoice(nn.Module):
    """The greedy action, the action values ``[*B, A]`` and the value ``[*B, 1]`` of the chosen action.

    Args:
        spec: the action spec.
    """

    out_keys = (ACTION, ACTION_VALUE, CHOSEN_ACTION_VALUE)

    def __init__(self, spec: TensorSpec) -> None:
        super().__init__()
        self.spec, self.layout = spec, find_action_space(spec=spec)

    def forward(self, value: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        action = greedy_action(self.layout, value)
        return action, value, chosen_value(self.layout, value, action)
