"""The base classes of TorchRL's specs: of any tensor, and of discrete actions."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from copy import copy
from typing import Any, ClassVar, Self

import torch
from torch import Tensor

from qframe.actions.action_space import ActionSpace

Device = torch.device | str


class TensorSpec(ABC):
    """The domain of one entry: its shape and dtype per batch entry, and which values are in it.

    Args:
        shape: shape of one entry, batch dimensions left out; an int is the size of a vector.
        dtype: dtype of the entries; None for a group of specs.
        device: where ``rand`` and ``zero`` make tensors. Values on any device are tested and projected where they are.
    """

    var_nums: tuple[int, ...] | None = None
    """The sizes of the components of a joint action; None for all others."""

    def __init__(self, shape: int | Sequence[int], dtype: torch.dtype | None, device: Device | None = None) -> None:
        self.shape = torch.Size((shape,) if isinstance(shape, int) else shape)
        self.dtype = dtype
        self.device = torch.device("cpu" if device is None else device)

    @abstractmethod
    def rand(self, batch: Sequence[int] = (), generator: torch.Generator | None = None) -> Any:
        """Entries drawn uniformly from the domain, ``[*batch, *shape]``."""

    def zero(self, batch: Sequence[int] = ()) -> Any:
        """Zeros of the spec's shape and dtype, ``[*batch, *shape]``, whether or not zero is in the domain."""
        return torch.zeros((*batch, *self.shape), dtype=self.dtype, device=self.device)

    @abstractmethod
    def is_in(self, value: Any) -> bool:
        """Whether every entry of ``value`` has the spec's shape and dtype and lies in the domain."""

    @abstractmethod
    def project(self, value: Any) -> Any:
        """The entries of the domain nearest to ``value``: deterministic, and the identity inside the domain."""

    def to(self, device: Device) -> Self:
        """The same spec, making its tensors on ``device``."""
        moved = copy(self)
        moved.device = torch.device(device)
        return moved

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and repr(self) == repr(other) and self.device == getattr(other, "device", None)

    def __hash__(self) -> int:
        return hash((type(self), repr(self), self.device))

    def _fits(self, value: Tensor) -> bool:
        """Whether the trailing shape and the dtype are the spec's."""
        event = value.shape[value.ndim - len(self.shape) :]
        return value.ndim >= len(self.shape) and event == self.shape and value.dtype == self.dtype


class DiscreteSpec(TensorSpec):
    """The spec of a discrete action.

    Args:
        sizes: the number of actions of every choice.
        shape: shape of one entry.
        device: where ``rand`` and ``zero`` make tensors.
        dtype: of the entries.
    """

    encoding: ClassVar[str]
    action_space: ActionSpace
    num_actions: int
    """The number of action values, the size of their last dimension; of a joint action, over all components."""

    def __init__(
        self, sizes: int | tuple[int, ...], shape: Sequence[int], device: Device | None, dtype: torch.dtype
    ) -> None:
        super().__init__(shape, dtype, device)
        self.action_space = ActionSpace(self.encoding, sizes)
        self.num_actions = self.action_space.num_actions

    def __repr__(self) -> str:
        sizes = self.num_actions if self.var_nums is None else list(self.var_nums)
        dtype = "" if self.dtype is torch.int64 else f", dtype={self.dtype}"
        return f"{type(self).__name__}({sizes}{self._shape_argument()}{dtype})"

    def _shape_argument(self) -> str:
        return ""


def holds(condition: Tensor) -> bool:
    """Whether a condition holds everywhere; on the meta device, which has no data, it is taken to hold."""
    return condition.is_meta or bool(condition.all())


def draw(shape: Sequence[int], high: int, device: torch.device, generator: torch.Generator | None) -> Tensor:
    """Uniform integers in ``[0, high)`` from the given generator, int64, on ``device``."""
    source = device if generator is None else generator.device
    return torch.randint(high, tuple(shape), generator=generator, device=source).to(device)
