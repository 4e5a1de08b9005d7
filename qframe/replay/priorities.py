"""Priorities of numbered things, and draws in proportion to them."""

import numpy as np
import torch
from torch import Tensor

from qframe.replay.native_sum_tree import sum_tree

PRIORITY_BYTES = 9
"""Of a row: a leaf of the tree, and its share of the nodes above."""


class Priorities:
    """Draws number i with probability ``P_i = p_i / Σ p``, where ``p = (|δ| + ε)^α``, and weighs it.

    See "Prioritized Experience Replay", Schaul et al., 2016, sections 3.3 and 3.4, and algorithm 1.

    Args:
        capacity: how many numbers; none has a priority at first.
        alpha: α ≥ 0; 0 is uniform.
        beta: β at first, in ``[0, 1]``; 1 corrects the bias of sampling in full.
        beta_end: β at last, in ``[0, 1]``.
        epsilon: ε ≥ 0, in units of δ.
        max_td_error: a larger |δ| counts as this, so that a few outliers cannot take all draws; None leaves it. Schaul
            et al. have 1 (section 4).

    Raises:
        ValueError: an argument is out of its range.

    >>> priorities = Priorities(10, alpha=1.0, beta=1.0, beta_end=1.0, epsilon=0.0)
    >>> priorities.update(np.array([4]), np.array([2.0]))
    >>> priorities.draw(2, torch.Generator())
    (array([4, 4]), tensor([1., 1.]))
    """

    def __init__(
        self,
        capacity: int,
        *,
        alpha: float,
        beta: float,
        beta_end: float,
        epsilon: float,
        max_td_error: float | None = None,
    ) -> None:
        for name, value in (("alpha", alpha), ("epsilon", epsilon)):
            if not 0.0 <= value < np.inf:
                raise ValueError(f"expected {name} of at least 0, got {value}; alpha 0.6 and epsilon 1e-6 are common")
        for name, value in (("beta", beta), ("beta_end", beta_end)):
            if not 0.0 <= value <= 1.0:
                raise ValueError(f"expected {name} in [0, 1], got {value}; from 0.4 to 1 is common")
        if max_td_error is not None and not max_td_error > 0.0:
            raise ValueError(f"expected max_td_error above 0 or none, got {max_td_error}; 1 is common")
        self.capacity, self.alpha, self.epsilon, self.max_td_error = capacity, alpha, epsilon, max_td_error
        self._beta_start, self._beta_end = beta, beta_end
        self._fraction = 0.0
        self._largest = 1.0 if max_td_error is None else min(1.0, max_td_error)  # |δ|
        self._tree = sum_tree(capacity)

    @property
    def beta(self) -> float:
        """β now."""
        return self._beta_start + (self._beta_end - self._beta_start) * self._fraction

    @property
    def total(self) -> float:
        """``Σ p``."""
        return self._tree.total

    def anneal(self, fraction: float) -> None:
        """Set β for a run of which ``fraction`` is over; outside ``[0, 1]`` the nearer end counts."""
        self._fraction = min(max(float(fraction), 0.0), 1.0)

    def draw(self, count: int, generator: torch.Generator) -> tuple[np.ndarray, Tensor]:
        """Numbers ``[k]``, one from each equal part of the mass, and their importance weights ``[k]``, float32.

        Raises:
            RuntimeError: no number has a priority above 0.
        """
        if not self.total > 0.0:
            raise RuntimeError("expected a row of priority above 0 to draw, got none; use an epsilon above 0")
        place = torch.rand(count, generator=generator, dtype=torch.float64).numpy()
        index = self._tree.find((np.arange(count) + place) * (self.total / count))
        priority = self._tree.get(index)
        # N and Σp cancel in (N · p_i / Σp)^−β divided by its largest, which belongs to the smallest priority.
        weight = (priority.min() / priority) ** self.beta
        return index, torch.from_numpy(weight.astype(np.float32))

    def renew(self, index: np.ndarray) -> None:
        """Give new numbers the largest |δ| that any update has brought so far, 1 before any has brought more."""
        self._tree.set(index, np.full(len(index), self._priority(np.array(self._largest))))

    def forget(self, index: np.ndarray) -> None:
        """Take numbers out: they are drawn no more."""
        self._tree.set(index, np.zeros(len(index)))

    def update(self, index: np.ndarray, error: np.ndarray) -> None:
        """Set priorities to ``(|δ| + ε)^α``; where a number repeats, the last error wins."""
        if len(index):
            if self.max_td_error is not None:
                error = np.minimum(error, self.max_td_error)
            self._tree.set(index, self._priority(error))
            self._largest = max(self._largest, float(error.max()))

    def settings(self) -> dict[str, float | None]:
        """What must be equal for a state to be taken over."""
        return {"alpha": self.alpha, "epsilon": self.epsilon, "max_td_error": self.max_td_error}

    def state_dict(self, index: np.ndarray) -> dict:
        """The priorities of the numbers ``index``, and all else that makes what comes next."""
        return {
            "priority": torch.from_numpy(self._tree.get(index)),
            "largest": self._largest,
            "fraction": self._fraction,
        }

    def load_state_dict(self, state: dict, index: np.ndarray) -> None:
        """Take over what ``state_dict`` gave for the same numbers; all others have no priority."""
        self._tree = sum_tree(self.capacity)
        self._tree.set(index, state["priority"].numpy(force=True))
        self._largest, self._fraction = state["largest"], state["fraction"]

    def _priority(self, error: np.ndarray) -> np.ndarray:
        return (error + self.epsilon) ** self.alpha


class DrawsByPriority:
    """What every prioritized buffer says of β; it comes before the buffer among the base classes."""

    draws_alike = False
    _priorities: Priorities

    @property
    def beta(self) -> float:
        """β now."""
        return self._priorities.beta

    def anneal(self, fraction: float) -> None:
        """Set β for a run of which ``fraction`` is over; outside ``[0, 1]`` the nearer end counts."""
        self._priorities.anneal(fraction)


def checked_errors(td_error: Tensor, count: int) -> np.ndarray:
    """Errors that can be priorities, float64 ``[k]``.

    Raises:
        ValueError: an error is NaN, infinite or negative, or there are not ``count`` of them.
    """
    error = td_error.numpy(force=True).reshape(-1).astype(np.float64)
    if len(error) != count:
        raise ValueError(f"expected one td_error per row, got {len(error)} for {count}; keep the batch whole")
    wrong = error[~((error >= 0.0) & (error < np.inf))]
    if len(wrong):
        raise ValueError(
            f"expected td_error to be finite and at least 0, got {wrong[0]} ({len(wrong)} of {len(error)}); "
            "pass its absolute value, and look for a diverging loss"
        )
    return error
