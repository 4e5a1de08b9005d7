"""Specs of joint actions: several discrete choices made at once."""

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from qframe.actions.specs.base import Device, DiscreteSpec, draw, holds, positive_size
from qframe.actions.specs.discrete import first_maximum, is_one_hot, to_index, to_one_hot


class MultiCategorical(DiscreteSpec):
    """One index per component, int64 ``[*B, D]``, component d below ``nvec[d]``.

    >>> MultiCategorical([2, 3]).project(torch.tensor([5, -1]))
    tensor([1, 0])
    """

    action_space = "multi-categorical"

    def __init__(self, nvec: Iterable[int], *, device: Device | None = None) -> None:
        self.sizes = self.var_nums = component_sizes(nvec, "nvec")
        self.num_actions = sum(self.sizes)
        super().__init__((len(self.sizes),), torch.int64, device)

    def rand(self, batch: Sequence[int] = (), generator: torch.Generator | None = None) -> Tensor:
        return torch.stack([draw(batch, n, self.device, generator) for n in self.sizes], -1)  # [*batch, D]

    def is_in(self, value: Tensor) -> bool:
        sizes = torch.tensor(self.sizes, device=value.device)
        return self._fits(value) and holds((value >= 0) & (value < sizes))

    def project(self, value: Tensor) -> Tensor:
        return to_index(value, torch.tensor(self.sizes, device=value.device))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({list(self.sizes)})"


class MultiOneHot(DiscreteSpec):
    """One one-hot vector per component, side by side, int64 ``[*B, sum(nvec)]``.

    >>> MultiOneHot([2, 3]).project(torch.tensor([1, 1, 0, 0, 9]))
    tensor([1, 0, 0, 0, 1])
    """

    action_space = "mult-one-hot"

    def __init__(self, nvec: Iterable[int], *, device: Device | None = None) -> None:
        self.sizes = self.var_nums = component_sizes(nvec, "nvec")
        self.num_actions = sum(self.sizes)
        super().__init__((self.num_actions,), torch.int64, device)

    def rand(self, batch: Sequence[int] = (), generator: torch.Generator | None = None) -> Tensor:
        return torch.cat([to_one_hot(draw(batch, n, self.device, generator), n) for n in self.sizes], -1)

    def is_in(self, value: Tensor) -> bool:
        return self._fits(value) and all(holds(is_one_hot(part)) for part in value.split(self.sizes, -1))

    def project(self, value: Tensor) -> Tensor:
        if value.shape[-1:] != self.shape:
            raise ValueError(
                f"expected the last dimension to be sum(nvec) = {self.num_actions}, got shape {list(value.shape)}"
            )
        parts = value.split(self.sizes, -1)
        return torch.cat([to_one_hot(first_maximum(part), part.shape[-1]) for part in parts], -1)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({list(self.sizes)})"


def component_sizes(sizes: Iterable[int], name: str) -> tuple[int, ...]:
    """The sizes of a joint action's components, each at least 1.

    Raises:
        ValueError: there is none, or one is not a positive integer.
    """
    checked = tuple(positive_size(size, f"every size in {name}") for size in sizes)
    if not checked:
        raise ValueError(f"expected {name} to list the size of at least one component, got an empty list")
    return checked
