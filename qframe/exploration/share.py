"""Exploration in some of a run's environments, by the rules and draws of all of them."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from qframe.exploration.protocol import Exploration


class ExplorationShare(Exploration):
    """What an exploration does in environments ``first … first + count − 1`` of ``total``.

    It explores as if all environments were stepped, and keeps the rows of its own: so each environment has its rung of
    a ladder and its own draws, whichever process steps it. Frames count for all environments, which step equally often.

    Args:
        whole: the exploration of all environments.
        first: the first environment.
        count: the number of environments.
        total: of the whole, a multiple of ``count``.

    >>> import torch
    >>> from qframe.actions import Categorical
    >>> from qframe.exploration import EGreedyModule
    >>> action = torch.zeros(4, dtype=torch.int64)
    >>> whole, half = (EGreedyModule(Categorical(9), 1.0, 1.0, seed=3) for _ in range(2))
    >>> share = ExplorationShare(half, 2, 2, 4)
    >>> torch.equal(share.explore(action[2:]), whole.explore(action)[2:])
    True
    """

    def __init__(self, whole: Exploration, first: int, count: int, total: int) -> None:
        self._whole, self._rows, self._total, self._parts = whole, slice(first, first + count), total, total // count
        self.has_probability, self.reads_members = whole.has_probability, whole.reads_members

    @property
    def metrics(self) -> Mapping[str, float]:
        return self._whole.metrics

    def explore(self, action: Tensor, mask: Tensor | None = None, value: Tensor | None = None) -> Tensor:
        return self._whole.explore(self._padded(action, 0), self._mask(mask), self._value(value))[self._rows]

    def probability(self, action: Tensor, value: Tensor, mask: Tensor | None = None) -> Tensor:
        given = self._padded(value, value.dim() - 2)  # [E, A], or [K, E, A] of an ensemble
        return self._whole.probability(self._padded(action, 0), given, self._mask(mask))[self._rows]

    def stored(self) -> dict[str, Tensor]:
        return {key: entry[self._rows] for key, entry in self._whole.stored().items()}

    def step(self, frames: int = 1, done: Tensor | None = None) -> None:
        self._whole.step(frames * self._parts, None if done is None else self._padded(done, 0))

    def state_dict(self) -> dict[str, Any]:
        return self._whole.state_dict()

    def load_state_dict(self, state_dict: Any) -> Any:
        return self._whole.load_state_dict(state_dict)

    def _padded(self, part: Tensor, dim: int) -> Tensor:
        """A tensor over all environments along ``dim``, 0 outside this share."""
        shape = (*part.shape[:dim], self._total, *part.shape[dim + 1 :])
        padded = part.new_zeros(shape)
        padded.narrow(dim, self._rows.start, part.shape[dim]).copy_(part)
        return padded

    def _mask(self, mask: Tensor | None) -> Tensor | None:
        return None if mask is None else ~self._padded(~mask, 0)

    def _value(self, value: Tensor | None) -> Tensor | None:
        return None if value is None else self._padded(value, value.dim() - 2)
