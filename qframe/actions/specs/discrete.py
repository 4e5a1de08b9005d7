"""Specs of discrete actions: one choice, several at once, or independent bits, as indices or in one-hot form.

Entries are of ``dtype``, by default int64, in which networks write actions.
"""

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from qframe.actions.action_space import branch_sizes, positive_size, to_one_hot
from qframe.actions.specs.base import Device, DiscreteSpec, draw, holds


class Categorical(DiscreteSpec):
    """One of ``n`` actions as its index ``[*B]``; with a ``shape``, that many of them, ``[*B, *shape]``.

    >>> Categorical(3).project(torch.tensor([-1, 1, 7]))
    tensor([0, 1, 2])
    """

    encoding = "categorical"

    def __init__(
        self, n: int, shape: Sequence[int] = (), *, device: Device | None = None, dtype: torch.dtype = torch.int64
    ) -> None:
        super().__init__(positive_size(n, "n"), shape, device, dtype)

    def rand(self, batch: Sequence[int] = (), generator: torch.Generator | None = None) -> Tensor:
        return draw((*batch, *self.shape), self.num_actions, self.device, generator).to(self.dtype)

    def is_in(self, value: Tensor) -> bool:
        return self._fits(value) and holds((value >= 0) & (value < self.num_actions))

    def project(self, value: Tensor) -> Tensor:
        return to_index(value, self.num_actions).to(self.dtype)

    def _shape_argument(self) -> str:
        return f", shape={[*self.shape]}" if self.shape else ""


class OneHot(DiscreteSpec):
    """One of ``n`` actions as a vector with a single 1, ``[*B, n]``.

    The projection of any other vector is the one-hot form of its first maximum.

    >>> OneHot(3).project(torch.tensor([0.2, 0.9, 0.9]))
    tensor([0, 1, 0])
    """

    encoding = "one-hot"

    def __init__(self, n: int, *, device: Device | None = None, dtype: torch.dtype = torch.int64) -> None:
        super().__init__(positive_size(n, "n"), (n,), device, dtype)

    def rand(self, batch: Sequence[int] = (), generator: torch.Generator | None = None) -> Tensor:
        index = draw(batch, self.num_actions, self.device, generator)
        return to_one_hot(index, self.num_actions).to(self.dtype)

    def is_in(self, value: Tensor) -> bool:
        return self._fits(value) and holds(is_one_hot(value))

    def project(self, value: Tensor) -> Tensor:
        index = first_maximum(value).clamp(max=self.num_actions - 1)
        return to_one_hot(index, self.num_actions).to(self.dtype)


class Binary(DiscreteSpec):
    """``n`` independent bits ``[*B, n]``.

    >>> Binary(3).project(torch.tensor([-2.0, 0.4, 5.0]))
    tensor([0, 0, 1])
    """

    encoding = "binary"

    def __init__(self, n: int, *, device: Device | None = None, dtype: torch.dtype = torch.int64) -> None:
        super().__init__(positive_size(n, "n"), (n,), device, dtype)

    def rand(self, batch: Sequence[int] = (), generator: torch.Generator | None = None) -> Tensor:
        return draw((*batch, self.num_actions), 2, self.device, generator).to(self.dtype)

    def is_in(self, value: Tensor) -> bool:
        return self._fits(value) and holds((value == 0) | (value == 1))

    def project(self, value: Tensor) -> Tensor:
        return (value > 0.5).to(self.dtype)


class MultiCategorical(DiscreteSpec):
    """One index per component ``[*B, D]``, component d below ``nvec[d]``.

    >>> MultiCategorical([2, 3]).project(torch.tensor([5, -1]))
    tensor([1, 0])
    """

    encoding = "multi-categorical"

    def __init__(
        self, nvec: Iterable[int], *, device: Device | None = None, dtype: torch.dtype = torch.int64
    ) -> None:
        self.sizes = self.var_nums = branch_sizes(nvec, "nvec")
        super().__init__(self.sizes, (len(self.sizes),), device, dtype)

    @property
    def nvec(self) -> Tensor:
        """The sizes of the components, int64 ``[D]``."""
        return torch.tensor(self.sizes)

    def rand(self, batch: Sequence[int] = (), generator: torch.Generator | None = None) -> Tensor:
        parts = [draw(batch, n, self.device, generator) for n in self.sizes]
        return torch.stack(parts, -1).to(self.dtype)  # [*batch, D]

    def is_in(self, value: Tensor) -> bool:
        sizes = torch.tensor(self.sizes, device=value.device)
        return self._fits(value) and holds((value >= 0) & (value < sizes))

    def project(self, value: Tensor) -> Tensor:
        return to_index(value, torch.tensor(self.sizes, device=value.device)).to(self.dtype)


class MultiOneHot(DiscreteSpec):
    """One one-hot vector per component, side by side, ``[*B, sum(nvec)]``.

    >>> MultiOneHot([2, 3]).project(torch.tensor([1, 1, 0, 0, 9]))
    tensor([1, 0, 0, 0, 1])
    """

    encoding = "mult-one-hot"

    def __init__(
        self, nvec: Iterable[int], *, device: Device | None = None, dtype: torch.dtype = torch.int64
    ) -> None:
        self.sizes = self.var_nums = branch_sizes(nvec, "nvec")
        super().__init__(self.sizes, (sum(self.sizes),), device, dtype)

    @property
    def nvec(self) -> Tensor:
        """The sizes of the components, int64 ``[D]``."""
        return torch.tensor(self.sizes)

    def rand(self, batch: Sequence[int] = (), generator: torch.Generator | None = None) -> Tensor:
        parts = [to_one_hot(draw(batch, n, self.device, generator), n) for n in self.sizes]
        return torch.cat(parts, -1).to(self.dtype)

    def is_in(self, value: Tensor) -> bool:
        return self._fits(value) and all(holds(is_one_hot(part)) for part in value.split(self.sizes, -1))

    def project(self, value: Tensor) -> Tensor:
        if value.shape[-1:] != self.shape:
            raise ValueError(
                f"expected the last dimension to be sum(nvec) = {self.num_actions}, got shape {list(value.shape)}"
            )
        parts = value.split(self.sizes, -1)
        found = [to_one_hot(first_maximum(part), part.shape[-1]) for part in parts]
        return torch.cat(found, -1).to(self.dtype)


def to_index(value: Tensor, n: int | Tensor) -> Tensor:
    """The nearest index in ``[0, n)``, int64; NaN goes to 0."""
    if value.is_floating_point():
        value = value.nan_to_num().round()
    return value.clamp(min=0).minimum(torch.as_tensor(n - 1, device=value.device)).long()


def is_one_hot(value: Tensor) -> Tensor:
    """Whether each vector holds a single 1 and zeros, ``[*B]``."""
    return ((value == 0) | (value == 1)).all(-1) & (value.sum(-1) == 1)


def first_maximum(value: Tensor) -> Tensor:
    """The index of the first maximum, of boolean vectors too, ``[*B]``."""
    return (value.to(torch.int8) if value.dtype is torch.bool else value).argmax(-1)
