"""The one place that encodes and decodes actions: what a network writes, what replay stores, what an environment takes.

=============  ===============================  ===================  =========================
space          spec (the encoding)              stored               the environment gets
=============  ===============================  ===================  =========================
Discrete       categorical, one-hot             index ``[*B]``       int, from its start
MultiDiscrete  multi-categorical, mult-one-hot  index ``[*B, D]``    int array, from its starts
MultiBinary    the same: branches of two        index ``[*B, D]``    int8 array
both, small    enumerated: categorical          index ``[*B]``       the same arrays
=============  ===============================  ===================  =========================
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from qframe.actions.specs.base import DiscreteSpec
from qframe.actions.specs.discrete import to_one_hot
from qframe.actions.specs.layout import ActionLayout, canonical_name


@dataclass(frozen=True)
class ActionSpace:
    """The actions of an environment in three forms: the spec's layout, the stored index, and what ``env.step`` takes.

    Args:
        spec: the layout in which networks write actions.
        start: the environment's number of the first action.

    >>> from qframe.actions import OneHot
    >>> space = ActionSpace(OneHot(3), start=5)
    >>> index = space.encode(torch.tensor([0, 0, 1]))
    >>> index, space.decode(index), space.to_env(index)
    (tensor(2), tensor([0, 0, 1]), 7)
    """

    spec: DiscreteSpec
    start: int = 0
    joint: Literal["branching", "sum"] = "branching"
    """How the branches of a joint action are trained; a plain action has none."""

    @property
    def num_actions(self) -> int:
        """A: how many action values there are, those of all branches together."""
        return self.spec.num_actions

    def encode(self, action: Tensor) -> Tensor:
        """The index ``[*B]``, int64, of an action in the spec's layout; of a joint action ``[*B, D]``."""
        return encoder(self._layout)(action)

    def decode(self, index: Tensor) -> Tensor:
        """The action in the spec's layout of an index ``[*B]``."""
        return to_one_hot(index, self.num_actions) if self.spec.action_space == "one-hot" else index

    def legal(self, mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """The mask ``[*B, A]`` of this encoding from an environment's mask ``[*B, A]``, that of all branches."""
        return mask

    def to_env(self, index: Tensor | int) -> NDArray[Any] | int:
        """What ``env.step`` takes: an int for one index, an int64 array ``[E]`` for E of them."""
        action = np.asarray(index.cpu() if isinstance(index, Tensor) else index, dtype=np.int64) + self.start
        return int(action) if action.ndim == 0 else action

    def from_env(self, action: NDArray[Any] | int) -> Tensor:
        """The index, int64, of an environment's own action or actions.

        Raises:
            ValueError: an action that the space does not have.
        """
        index = torch.as_tensor(np.asarray(action, dtype=np.int64) - self.start)
        if not bool(((index >= 0) & (index < self.num_actions)).all()):
            last = self.start + self.num_actions - 1
            raise ValueError(f"expected actions from {self.start} to {last}, got {np.asarray(action).tolist()}")
        return index

    @property
    def _layout(self) -> ActionLayout:
        return ActionLayout(self.spec.action_space, self.spec.var_nums)


@dataclass(frozen=True, eq=False)
class JointActionSpace(ActionSpace):
    """Joint actions: several choices at once, an index each, ``[*B, D]``.

    Args:
        sizes: actions of each branch.
        starts: the environment's number of each branch's first action, ``[D]``.
        shape: of the environment's action.
        dtype: of the environment's action.

    >>> from qframe.actions import MultiOneHot
    >>> space = JointActionSpace(MultiOneHot([2, 2]), sizes=(2, 2), shape=(2,), dtype=np.int8)
    >>> space.decode(torch.tensor([0, 1])), space.to_env(torch.tensor([0, 1]))
    (tensor([1, 0, 0, 1]), array([0, 1], dtype=int8))
    """

    sizes: tuple[int, ...] = ()
    starts: NDArray[np.int64] | int = 0
    shape: tuple[int, ...] = ()
    dtype: Any = np.int64

    def decode(self, index: Tensor) -> Tensor:
        if self.spec.action_space != "mult-one-hot":
            return index
        return torch.cat([to_one_hot(i, n) for i, n in zip(index.unbind(-1), self.sizes, strict=True)], -1)

    def to_env(self, index: Tensor | int) -> NDArray[Any] | int:
        """What ``env.step`` takes: an array of the environment's shape and dtype, E of them for ``[E, D]``."""
        numbers = np.asarray(index.cpu() if isinstance(index, Tensor) else index) + self.starts
        return numbers.reshape(*numbers.shape[:-1], *self.shape).astype(self.dtype)

    def from_env(self, action: NDArray[Any] | int) -> Tensor:
        numbers = np.asarray(action, dtype=np.int64)
        batch = numbers.shape[: numbers.ndim - len(self.shape)]
        index = numbers.reshape(*batch, len(self.sizes)) - self.starts  # [*B, D]
        if not ((index >= 0) & (index < np.array(self.sizes))).all():
            raise ValueError(f"expected actions of {list(self.sizes)} choices, got {numbers.tolist()}")
        return torch.from_numpy(index)


@dataclass(frozen=True, eq=False)
class EnumeratedActionSpace(JointActionSpace):
    """Joint actions numbered one after another, the last choice fastest: one index ``[*B]`` for all choices.

    >>> from qframe.actions import Categorical
    >>> EnumeratedActionSpace(Categorical(6), sizes=(2, 3), shape=(2,)).to_env(torch.tensor(4))
    array([1, 1])
    """

    def to_env(self, index: Tensor | int) -> NDArray[Any] | int:
        flat = np.asarray(index.cpu() if isinstance(index, Tensor) else index)
        return super().to_env(torch.from_numpy(np.stack(np.unravel_index(flat, self.sizes), -1)))

    def from_env(self, action: NDArray[Any] | int) -> Tensor:
        index = super().from_env(action).numpy()
        return torch.as_tensor(np.ravel_multi_index(tuple(np.moveaxis(index, -1, 0)), self.sizes))

    def legal(self, mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """A joint action is legal where all its choices are."""
        parts = np.split(mask, np.cumsum(self.sizes)[:-1], axis=-1)
        legal = np.ones((*mask.shape[:-1], 1), dtype=np.bool_)
        for part in parts:
            legal = (legal[..., None] & part[..., None, :]).reshape(*mask.shape[:-1], -1)
        return legal  # [*B, A]


def encode_action(action_space: str, action: Tensor) -> Tensor:
    """The index ``[*B]`` of an action written as ``action_space`` says; a one-hot vector is read by its first maximum.

    Raises:
        ValueError: an action space that is not trained on.

    >>> encode_action("one-hot", torch.tensor([[0, 1], [1, 0]]))
    tensor([1, 0])
    """
    return encoder(ActionLayout(canonical_name(action_space)))(action)


def encoder(layout: ActionLayout) -> Callable[[Tensor], Tensor]:
    """The function that turns actions written in a layout into indices ``[*B]``; for a joint one ``[*B, D]``.

    Raises:
        ValueError: an action space that has no index per choice.
    """
    if layout.name == "mult-one-hot":
        return partial(_indices_of_ones, layout)
    if layout.name not in _ENCODERS:
        names = ", ".join((*_ENCODERS, "mult-one-hot"))
        raise ValueError(
            f"expected an action space with an index per choice ({names}), got {layout.name!r}; for bits take "
            "branches of two values"
        )
    return _ENCODERS[layout.name]


def _index(action: Tensor) -> Tensor:
    return action.long()


def _index_of_one(action: Tensor) -> Tensor:
    return action.to(torch.int8).argmax(-1)


def _indices_of_ones(layout: ActionLayout, action: Tensor) -> Tensor:
    return torch.stack([_index_of_one(part) for part in action.split(layout.sizes(action.shape[-1]), -1)], -1)


_ENCODERS: dict[str, Callable[[Tensor], Tensor]] = {
    "categorical": _index, "one-hot": _index_of_one, "multi-categorical": _index
}
