"""The layout of compiled code's inputs: batches and noise as a flat list of tensors, and back."""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from qframe.keys import NestedKey
from qframe.objectives.q_learning import Noise

Rows = dict[NestedKey, Tensor]


class Layout(NamedTuple):
    """The meaning of each tensor in a flat list; batches of one layout share their code."""

    keys: tuple[NestedKey, ...]
    tensors: tuple[tuple[torch.Size, tuple[int, ...], torch.dtype], ...]
    names: tuple[str | None, ...] | None
    """Of a batch's dimensions."""
    passes: int
    """The number of batches that draw noise."""
    drawn: tuple[bool, ...]
    nesting: pytree.TreeSpec | None
    """Of the noise; None where nothing is random."""
    others: tuple[Any, ...]
    """Everything else the code depends on."""

    def unflatten(self, tensors: Iterator[Tensor]) -> tuple[Rows, tuple[Noise, ...]]:
        """Rows by key, and the noise of every pass."""
        rows = {key: next(tensors) for key in self.keys}
        if self.nesting is None:
            return rows, (Noise(),) * self.passes
        return rows, pytree.tree_unflatten([next(tensors) if drawn else None for drawn in self.drawn], self.nesting)

    @property
    def summary(self) -> str:
        """The first entry of the batches and its shape, for messages."""
        return f"{self.keys[0]} {tuple(self.tensors[0][0])}"


def flatten(rows: Rows, noises: Sequence[Noise], names: Sequence[str | None] | None, *others: Any) -> Any:
    """Rows and noise as a list of tensors, and their layout.

    Args:
        rows: by key.
        noises: of every pass.
        names: of a batch's dimensions; None where there is one.
        others: everything else the code depends on.
    """
    is_random = any(part is not None for noise in noises for part in noise)
    leaves, nesting = pytree.tree_flatten(tuple(noises)) if is_random else ([], None)
    tensors = [*rows.values(), *(leaf for leaf in leaves if leaf is not None)]
    layout = Layout(
        keys=tuple(rows),
        tensors=tuple((tensor.shape, tensor.stride(), tensor.dtype) for tensor in tensors),
        names=None if names is None else tuple(names),
        passes=len(noises),
        drawn=tuple(leaf is not None for leaf in leaves),
        nesting=nesting,
        others=others,
    )
    return tensors, layout
