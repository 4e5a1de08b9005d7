"""Specs of numbers: within bounds, or any."""

from collections.abc import Sequence
from typing import Self

import torch
from torch import Tensor

from qframe.actions.specs.base import Device, TensorSpec, holds

Bound = float | Sequence[float] | Tensor


class Bounded(TensorSpec):
    """Numbers between two bounds, both included.

    Args:
        low: lowest values, broadcastable to ``shape``.
        high: highest values, broadcastable to ``shape``.
        shape: shape of one entry; by default that of the bounds.
        dtype: by default float32.
        device: where ``rand`` and ``zero`` make tensors.

    Raises:
        ValueError: a bound is NaN, or a low one is above its high one.

    >>> Bounded(-1.0, 1.0, shape=(3,)).project(torch.tensor([-4.0, 0.5, torch.inf]))
    tensor([-1.0000,  0.5000,  1.0000])
    """

    def __init__(
        self,
        low: Bound,
        high: Bound,
        shape: int | Sequence[int] | None = None,
        dtype: torch.dtype = torch.float32,
        device: Device | None = None,
    ) -> None:
        low, high = torch.as_tensor(low, dtype=dtype), torch.as_tensor(high, dtype=dtype)
        super().__init__(torch.broadcast_shapes(low.shape, high.shape) if shape is None else shape, dtype, device)
        self.low = low.expand(self.shape).to(self.device)
        self.high = high.expand(self.shape).to(self.device)
        if not holds(self.low <= self.high):
            raise ValueError(f"expected low ≤ high everywhere, got low = {low.tolist()} and high = {high.tolist()}")

    def rand(self, batch: Sequence[int] = (), generator: torch.Generator | None = None) -> Tensor:
        """Uniform numbers within finite bounds; an infinite bound counts as 1 beyond the other, or as ±1."""
        shape, source = (*batch, *self.shape), self.device if generator is None else generator.device
        if not self.low.is_floating_point():
            unit = torch.rand(shape, generator=generator, device=source, dtype=torch.float64).to(self.device)
            return (self.low + (unit * (self.high - self.low + 1)).floor()).to(self.low.dtype)
        unit = torch.rand(shape, generator=generator, device=source, dtype=self.low.dtype).to(self.device)
        low = torch.where(self.low.isinf(), torch.where(self.high.isinf(), -1.0, self.high - 1), self.low)
        high = torch.where(self.high.isinf(), low + torch.where(self.low.isinf(), 2.0, 1.0), self.high)
        return low + unit * (high - low)

    def is_in(self, value: Tensor) -> bool:
        low, high = self.low.to(value.device), self.high.to(value.device)
        return self._fits(value) and holds((value >= low) & (value <= high))

    def project(self, value: Tensor) -> Tensor:
        """Clamp to the bounds; NaN goes to the number within them that is nearest to 0."""
        low, high = self.low.to(value.device), self.high.to(value.device)
        value = torch.where(value.isnan(), 0, value)
        return value.clamp(low, high).to(low.dtype)

    def to(self, device: Device) -> Self:
        moved = super().to(device)
        moved.low, moved.high = self.low.to(device), self.high.to(device)
        return moved

    def __repr__(self) -> str:
        bounds = "" if self.low.is_meta else f"{self.low.tolist()}, {self.high.tolist()}, "
        return f"{type(self).__name__}({bounds}shape={tuple(self.shape)}, dtype={self.dtype})"


class Unbounded(TensorSpec):
    """Any numbers of one shape and dtype.

    >>> Unbounded((2,)).zero((3,)).shape
    torch.Size([3, 2])
    """

    def __init__(
        self, shape: int | Sequence[int] = (), dtype: torch.dtype = torch.float32, device: Device | None = None
    ) -> None:
        super().__init__(shape, dtype, device)

    def rand(self, batch: Sequence[int] = (), generator: torch.Generator | None = None) -> Tensor:
        """Standard normal numbers, rounded for an integer dtype."""
        source = self.device if generator is None else generator.device
        number = torch.randn((*batch, *self.shape), generator=generator, device=source).to(self.device)
        return (number if self.dtype is not None and self.dtype.is_floating_point else number.round()).to(self.dtype)

    def is_in(self, value: Tensor) -> bool:
        return self._fits(value)

    def project(self, value: Tensor) -> Tensor:
        return value.to(self.dtype)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({tuple(self.shape)}, dtype={self.dtype})"
