"""Proportional priorities: rows are drawn in proportion to their TD errors and corrected by importance weights."""

from collections.abc import Callable
from typing import Any, Literal, get_args

import numpy as np
import torch
from torch import Tensor

from qframe.replay.protocol import Priorities, Settings
from qframe.replay.sum_tree import SumTree, sum_tree

Initial = Literal["largest", "td_error"]


class ProportionalPriorities:
    """Draws row i with probability ``P_i = p_i / Σ p``, where ``p = (|δ| + ε)^α``.

    Its importance weight is ``(N · P_i)^−β``, divided by the largest of the batch. See "Prioritized Experience Replay",
    Schaul et al., 2016, sections 3.3 and 3.4, and algorithm 1. A slice of several steps counts with
    ``η · max |δ| + (1 − η) · mean |δ|``; see "Recurrent Experience Replay in Distributed Reinforcement Learning",
    Kapturowski et al., 2019, section 2.3.

    Invariants:
        - A new row has the largest |δ| of all updates so far, and at least 1 (or ``max_td_error``, if that is less); or
          with ``initial="td_error"`` the |δ| of the network that acted, as in Ape-X.
        - A batch is stratified: draw i lies in the i-th of B equal parts of the total mass.
        - A row of priority 0 is never drawn (this takes ε = 0, δ = 0 and α > 0).
        - β changes linearly from ``beta`` to ``beta_end`` with the fraction given to ``anneal``.

    Args:
        alpha: α ≥ 0; 0 is uniform.
        beta: β at the start, in ``[0, 1]``; 1 corrects the bias of sampling in full.
        beta_end: β at the end, in ``[0, 1]``.
        epsilon: ε ≥ 0, in units of δ.
        max_td_error: a larger |δ| counts as this, so that a few outliers do not take all draws; None is no limit.
            Schaul et al. use 1 (section 4).
        eta: η in ``[0, 1]``, of slices only.
        initial: |δ| of new rows: the ``largest`` so far, or the ``td_error`` that a replay of n-step transitions
            computes from the action values stored with the steps. See "Distributed Prioritized Experience Replay",
            Horgan et al., 2018, section 3.

    Raises:
        ValueError: an argument is out of range.

    >>> priorities = ProportionalPriorities(alpha=1.0, beta=1.0, epsilon=0.0)
    >>> priorities.allocate(10)
    >>> priorities.update(np.array([4]), np.array([2.0]))
    >>> priorities.draw(2, torch.Generator())
    (array([4, 4]), tensor([1., 1.]))
    """

    bytes_per_row = 9
    """A leaf of the sum tree, and its share of the nodes above."""

    def __init__(
        self,
        *,
        alpha: float = 0.6,
        beta: float = 0.4,
        beta_end: float = 1.0,
        epsilon: float = 1e-6,
        max_td_error: float | None = None,
        eta: float = 0.9,
        initial: Initial = "largest",
    ) -> None:
        for name, value in (("alpha", alpha), ("epsilon", epsilon)):
            if not 0.0 <= value < np.inf:
                raise ValueError(f"expected {name} of at least 0, got {value}; alpha 0.6 and epsilon 1e-6 are common")
        for name, value in (("beta", beta), ("beta_end", beta_end)):
            if not 0.0 <= value <= 1.0:
                raise ValueError(f"expected {name} in [0, 1], got {value}; from 0.4 to 1 is common")
        if max_td_error is not None and not max_td_error > 0.0:
            raise ValueError(f"expected max_td_error above 0 or none, got {max_td_error}; 1 is common")
        if not 0.0 <= eta <= 1.0:
            raise ValueError(f"expected eta in [0, 1], got {eta}; 0.9 is common")
        if initial not in get_args(Initial):
            raise ValueError(f"expected initial to be one of {', '.join(get_args(Initial))}, got {initial!r}")
        self.alpha, self.epsilon, self.max_td_error, self.eta = alpha, epsilon, max_td_error, eta
        self.initial = initial
        self._beta_start, self._beta_end = beta, beta_end
        self._fraction = 0.0
        self.over_ranks: Callable[[np.ndarray], np.ndarray] | None = None
        """The largest of each entry over all replays that hold a share of the rows; None: there is only this one.

        Row i of a share with the sum S of priorities is drawn with a probability in proportion to ``p_i / S``, which
        its weight corrects; the largest weight and the largest |δ| are those of all shares.
        """
        self._largest = 1.0 if max_td_error is None else min(1.0, max_td_error)  # |δ|
        self._num_rows = 0
        self._tree = SumTree(1)  # until ``allocate``

    @property
    def beta(self) -> float:
        """The current β."""
        return self._beta_start + (self._beta_end - self._beta_start) * self._fraction

    def allocate(self, num_rows: int) -> None:
        """Make room for rows ``0 … num_rows − 1``, all of priority 0.

        Raises:
            ValueError: the priorities belong to another replay already.
        """
        if self._num_rows:
            raise ValueError("these priorities belong to another replay already; give every replay its own")
        self._num_rows, self._tree = num_rows, sum_tree(num_rows)

    def add(self, row: np.ndarray) -> None:
        """Give new rows ``[k]`` the largest |δ| of all updates so far, and at least 1."""
        self._tree.set(row, np.full(len(row), self._priority(np.array(self._largest))))

    def remove(self, row: np.ndarray) -> None:
        """Give rows ``[k]`` priority 0."""
        self._tree.set(row, np.zeros(len(row)))

    def draw(self, count: int, generator: torch.Generator) -> tuple[np.ndarray, Tensor]:
        """Rows ``[count]``, one from each equal part of the mass, and their importance weights ``[count]``, float32.

        Raises:
            RuntimeError: no row has a priority above 0.
        """
        if not self._tree.total > 0.0:
            raise RuntimeError("no row has a priority above 0, so none can be drawn; use an epsilon above 0")
        place = torch.rand(count, generator=generator, dtype=torch.float64).numpy()
        row = self._tree.find((np.arange(count) + place) * (self._tree.total / count))
        priority = self._tree.get(row)
        # N and Σp cancel in (N · p_i / Σp)^−β divided by its largest, which belongs to the smallest priority.
        least = priority.min() if self.over_ranks is None else self._least(float(priority.min()), self.over_ranks)
        weight = (least / priority) ** self.beta
        return row, torch.from_numpy(weight.astype(np.float32))

    def _least(self, least: float, over_ranks: Callable[[np.ndarray], np.ndarray]) -> float:
        """The priority in this share that the row with the largest weight in the batches of all shares would have."""
        share, self._largest = over_ranks(np.array([-least / self._tree.total, self._largest])).tolist()
        return -share * self._tree.total

    def update(self, row: np.ndarray, td_error: np.ndarray) -> None:
        """Set the priorities of rows ``[k]`` from |δ|, float64 ``[k]``, or ``[k, T]`` for slices of T steps.

        NaN stands at the steps of a slice that do not count.
        """
        if not len(row):
            return
        error = td_error
        if error.ndim == 2:
            error = self.eta * np.nanmax(error, -1) + (1 - self.eta) * np.nanmean(error, -1)
        if self.max_td_error is not None:
            error = np.minimum(error, self.max_td_error)
        self._tree.set(row, self._priority(error))
        self._largest = max(self._largest, float(error.max()))

    def anneal(self, fraction: float) -> None:
        """Set β for a run of which ``fraction`` is over, clipped to ``[0, 1]``."""
        self._fraction = min(max(float(fraction), 0.0), 1.0)

    def settings(self) -> Settings:
        """The hyperparameters that must match to load a state."""
        return {name: getattr(self, name) for name in ("alpha", "epsilon", "max_td_error", "eta")}

    def state_dict(self, row: np.ndarray) -> dict[str, Any]:
        """The priorities of rows ``[k]``, the largest |δ| so far, and the fraction of the run."""
        return {
            "priority": torch.from_numpy(self._tree.get(row)),
            "largest": self._largest,
            "fraction": self._fraction,
        }

    def load_state_dict(self, state: dict[str, Any], row: np.ndarray) -> None:
        """Restore what ``state_dict`` returned for the same rows; all others have priority 0."""
        self._tree = sum_tree(self._num_rows)
        self._tree.set(row, state["priority"].numpy(force=True))
        self._largest, self._fraction = state["largest"], state["fraction"]

    def _priority(self, error: np.ndarray) -> np.ndarray:
        return (error + self.epsilon) ** self.alpha


def starts_from_td_error(priorities: Priorities | None) -> bool:
    """Whether new rows need the action values of the network that acted."""
    return getattr(priorities, "initial", "largest") == "td_error"


def no_priorities() -> None:
    """No priorities: every row is equally likely. It stands for None in a config."""


def check_errors(td_error: Tensor, count: int) -> np.ndarray:
    """Errors that can become priorities, float64 ``[count]``.

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
