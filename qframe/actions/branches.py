"""The branches of a joint action, as ``qframe.functional.Branches`` describes them: equal in size, or padded."""

from collections.abc import Sequence
from itertools import accumulate

import torch
from torch import Tensor, nn

from qframe.actions.specs.layout import ActionLayout
from qframe.functional.action import Branches, OneChoice, greedy


class EqualBranches(nn.Module):
    """Branches with the same number of actions: views, no padding.

    Args:
        size: A, the actions of every branch.

    >>> branches = EqualBranches(2)
    >>> branches.index(branches.split(torch.tensor([[1.0], [0.0], [3.0], [4.0]])).squeeze(-1))
    tensor([0, 1])
    """

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size

    def split(self, out: Tensor) -> Tensor:
        return out.unflatten(-2, (-1, self.size)).movedim(-3, 0)

    def join(self, value: Tensor) -> Tensor:
        return value.movedim(0, -2).flatten(-2)

    def legal(self, mask: Tensor | None, batch: Sequence[int]) -> Tensor | None:
        if mask is None:
            return None
        return mask.expand(*batch, mask.shape[-1]).unflatten(-1, (-1, self.size)).movedim(-2, 0)  # [D, *B, A]

    def in_front(self, index: Tensor) -> Tensor:
        return index.movedim(-1, 0)

    def index(self, value: Tensor, mask: Tensor | None = None) -> Tensor:
        return greedy(value, self.legal(mask, value.shape[1:-1])).movedim(0, -1)


class UnequalBranches(EqualBranches):
    """Branches of different sizes, padded to the largest.

    Args:
        sizes: the number of actions of each branch.

    >>> branches = UnequalBranches([1, 3])
    >>> branches.split(torch.tensor([[5.0], [1.0], [2.0], [3.0]])).squeeze(-1)
    tensor([[5., 5., 5.],
            [1., 2., 3.]])
    >>> branches.legal(None, batch=())
    tensor([[ True, False, False],
            [ True,  True,  True]])
    """

    def __init__(self, sizes: Sequence[int]) -> None:
        super().__init__(max(sizes))
        offsets = [0, *accumulate(sizes)][:-1]
        real = torch.arange(self.size) < torch.tensor(sizes).unsqueeze(-1)  # [D, A]
        offset = torch.tensor(offsets).unsqueeze(-1)
        place = torch.where(real, offset + torch.arange(self.size), offset)  # [D, A]
        self.real: Tensor
        self.place: Tensor  # where each entry of [D, A] stands side by side; padding repeats its branch's first
        self.origin: Tensor  # where each entry side by side stands in [D · A]
        self.register_buffer("real", real, persistent=False)
        self.register_buffer("place", place.flatten(), persistent=False)
        self.register_buffer("origin", real.flatten().nonzero().squeeze(-1), persistent=False)

    def split(self, out: Tensor) -> Tensor:
        return super().split(out.index_select(-2, self.place))

    def join(self, value: Tensor) -> Tensor:
        return super().join(value).index_select(-1, self.origin)

    def legal(self, mask: Tensor | None, batch: Sequence[int]) -> Tensor:
        real = self.real.view(len(self.real), *[1] * len(batch), self.size)
        padded = super().legal(None if mask is None else mask.index_select(-1, self.place), batch)
        return real if padded is None else padded & real


def make_branches(layout: ActionLayout) -> Branches:
    """The branches of an action space: none for one choice.

    >>> from qframe.actions import MultiCategorical
    >>> from qframe.actions.specs.layout import find_action_space
    >>> make_branches(find_action_space(MultiCategorical([2, 2])))
    EqualBranches()
    """
    sizes = layout.var_nums
    if sizes is None:
        return OneChoice()
    if isinstance(sizes, int):
        return EqualBranches(sizes)
    return EqualBranches(sizes[0]) if len(set(sizes)) == 1 else UnequalBranches(sizes)
