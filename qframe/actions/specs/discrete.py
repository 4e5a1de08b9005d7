"""Specs of one discrete choice (an index, or its one-hot form) and of independent bits."""

from collections.abc import Sequence

import torch
from torch import Tensor

from qframe.actions.specs.base import Device, DiscreteSpec, draw, holds, positive_size


class Categorical(DiscreteSpec):
    """One of ``n`` actions as its index, int64 ``[*B]``.

    >>> Categorical(3).project(torch.tensor([-1, 1, 7]))
    tensor([0, 1, 2])
    """

    action_space = "categorical"

    def __init__(self, n: int, *, device: Device | None = None) -> None:
        super().__init__((), torch.int64, device)
        self.num_actions = positive_size(n, "n")

    def rand(self, batch: Sequence[int] = (), generator: torch.Generator | None = None) -> Tensor:
        return draw(batch, self.num_actions, self.device, generator)

    def is_in(self, value: Tensor) -> bool:
        return self._fits(value) and holds((value >= 0) & (value < self.num_actions))

    def project(self, value: Tensor) -> Tensor:
        return to_index(value, self.num_actions)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.num_actions})"


class OneHot(DiscreteSpec):
    """One of ``n`` actions as a vector with a single 1, int64 ``[*B, n]``.

    The projection of any other vector is the one-hot form of its first maximum.

    >>> OneHot(3).project(torch.tensor([0.2, 0.9, 0.9]))
    tensor([0, 1, 0])
    """

    action_space = "one-hot"

    def __init__(self, n: int, *, device: Device | None = None) -> None:
        self.num_actions = positive_size(n, "n")
        super().__init__((n,), torch.int64, device)

    def rand(self, batch: Sequence[int] = (), generator: torch.Generator | None = None) -> Tensor:
        return to_one_hot(draw(batch, self.num_actions, self.device, generator), self.num_actions)

    def is_in(self, value: Tensor) -> bool:
        return self._fits(value) and holds(is_one_hot(value))

    def project(self, value: Tensor) -> Tensor:
        return to_one_hot(first_maximum(value).clamp(max=self.num_actions - 1), self.num_actions)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.num_actions})"


class Binary(DiscreteSpec):
    """``n`` independent bits, int64 ``[*B, n]``.

    >>> Binary(3).project(torch.tensor([-2.0, 0.4, 5.0]))
    tensor([0, 0, 1])
    """

    action_space = "binary"

    def __init__(self, n: int, *, device: Device | None = None) -> None:
        self.num_actions = positive_size(n, "n")
        super().__init__((n,), torch.int64, device)

    def rand(self, batch: Sequence[int] = (), generator: torch.Generator | None = None) -> Tensor:
        return draw((*batch, self.num_actions), 2, self.device, generator)

    def is_in(self, value: Tensor) -> bool:
        return self._fits(value) and holds((value == 0) | (value == 1))

    def project(self, value: Tensor) -> Tensor:
        return (value > 0.5).long()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.num_actions})"


def to_index(value: Tensor, n: int | Tensor) -> Tensor:
    """The nearest index in ``[0, n)``, int64; NaN goes to 0."""
    if value.is_floating_point():
        value = value.nan_to_num().round()
    return value.clamp(min=0).minimum(torch.as_tensor(n - 1, device=value.device)).long()


def to_one_hot(index: Tensor, n: int) -> Tensor:
    """The one-hot form of indices, int64 ``[*B, n]``.

    >>> to_one_hot(torch.tensor([2, 0]), 3)
    tensor([[0, 0, 1],
            [1, 0, 0]])
    """
    return (index.unsqueeze(-1) == torch.arange(n, device=index.device)).long()  # [*B, n]


def is_one_hot(value: Tensor) -> Tensor:
    """Whether each vector holds a single 1 and zeros, ``[*B]``."""
    return ((value == 0) | (value == 1)).all(-1) & (value.sum(-1) == 1)


def first_maximum(value: Tensor) -> Tensor:
    """The index of the first maximum, of boolean vectors too, ``[*B]``."""
    return (value.to(torch.int8) if value.dtype is torch.bool else value).argmax(-1)
