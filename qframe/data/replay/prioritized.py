"""The prioritized replay buffer."""

import numpy as np
import torch
from torch import Tensor

from qframe.data.replay.buffer import ReplayBuffer
from qframe.data.replay.storage import Rows
from qframe.data.replay.sum_tree import SumTree


class PrioritizedReplayBuffer(ReplayBuffer):
    """A replay buffer that draws a row with probability ``P_i = p_i / Σ p``, where ``p = (|δ| + ε)^α``.

    See "Prioritized Experience Replay", Schaul et al., 2016, sections 3.3 and 3.4, and algorithm 1.

    A sample has one more key: "priority_weight", float32 ``[B, 1]``, the importance weights ``(N · P_i)^−β``
    divided by the batch's largest.

    Invariants, besides those of ``ReplayBuffer``:
        - A new row has the largest |δ| that any update has brought so far, and 1 before any has brought more.
        - The batch is stratified: draw i lies in the i-th of B equal parts of the total mass.
        - A row of priority 0 is never drawn (it needs ε = 0, δ = 0 and α > 0); with no others, sampling raises
          RuntimeError.
        - β runs linearly from ``beta`` to ``beta_end`` with the fraction told to ``anneal``.
        - NaN, infinite or negative errors raise before they reach a priority; the same calls give the same samples.

    Args:
        capacity, batch_size, gamma, n_step, num_envs, device, seed: as for ``ReplayBuffer``.
        alpha: α ≥ 0; 0 is uniform.
        beta: β at first, in ``[0, 1]``; 1 corrects the bias of sampling in full.
        beta_end: β at last, in ``[0, 1]``.
        epsilon: ε ≥ 0, in units of δ.

    Raises:
        ValueError: an argument is out of its range.
    """

    def __init__(
        self,
        capacity: int,
        batch_size: int,
        *,
        gamma: float,
        n_step: int = 1,
        num_envs: int = 1,
        device: torch.device | str = "cpu",
        seed: int = 0,
        alpha: float = 0.6,
        beta: float = 0.4,
        beta_end: float = 1.0,
        epsilon: float = 1e-6,
    ) -> None:
        super().__init__(
            capacity, batch_size, gamma=gamma, n_step=n_step, num_envs=num_envs, device=device, seed=seed
        )
        for name, value in (("alpha", alpha), ("epsilon", epsilon)):
            if not 0.0 <= value < np.inf:
                raise ValueError(f"expected {name} of at least 0, got {value}; alpha 0.6 and epsilon 1e-6 are common")
        for name, value in (("beta", beta), ("beta_end", beta_end)):
            if not 0.0 <= value <= 1.0:
                raise ValueError(f"expected {name} in [0, 1], got {value}; from 0.4 to 1 is common")
        self.alpha, self.epsilon = alpha, epsilon
        self._beta_start, self._beta_end = beta, beta_end
        self._fraction = 0.0
        self._largest = 1.0  # |δ|
        self._tree = SumTree(capacity)

    @property
    def beta(self) -> float:
        """β now."""
        return self._beta_start + (self._beta_end - self._beta_start) * self._fraction

    def anneal(self, fraction: float) -> None:
        """Set β for a run of which ``fraction`` is over; outside ``[0, 1]`` the nearer end counts."""
        self._fraction = min(max(float(fraction), 0.0), 1.0)

    def update_priority(self, index: Tensor, td_error: Tensor) -> None:
        """Set the priorities of rows to ``(|δ| + ε)^α``; where a row repeats, the last error wins.

        Args:
            index: rows, int64 ``[B]``, "index" of a sample.
            td_error: |δ|, or what else is to rank rows, ``[B]`` or ``[B, 1]``, in units of the return.

        Raises:
            IndexError: a row that is not filled.
            ValueError: an error is NaN, infinite or negative, or there is not one per row; nothing has changed.
        """
        rows = index.numpy(force=True).reshape(-1)
        error = td_error.numpy(force=True).reshape(-1).astype(np.float64)
        if len(rows) != len(error):
            raise ValueError(f"expected one td_error per row, got {len(error)} for {len(rows)}; keep the batch whole")
        if not len(rows):
            return
        if not 0.0 <= error.min() <= error.max() < np.inf:
            wrong = error[~((error >= 0.0) & (error < np.inf))]
            raise ValueError(
                f"expected td_error to be finite and at least 0, got {wrong[0]} ({len(wrong)} of {len(error)}); "
                "pass its absolute value, and look for a diverging loss"
            )
        if not 0 <= rows.min() <= rows.max() < self._size:
            raise IndexError(
                f"expected rows in 0 … {self._size - 1}, got {rows.min()} … {rows.max()}; pass 'index' of a sample"
            )
        self._tree.set(rows, self._priority(error))
        self._largest = max(self._largest, float(error.max()))

    def state_dict(self) -> dict:
        """A copy of the rows, their priorities and all else that makes what comes next."""
        own = {
            "priority": torch.from_numpy(self._tree.get(np.arange(self._size))),
            "largest": self._largest,
            "fraction": self._fraction,
        }
        return super().state_dict() | own

    def load_state_dict(self, state: dict) -> None:
        """Take over what ``state_dict`` gave.

        Raises:
            ValueError: the state comes from a buffer of other settings.
        """
        super().load_state_dict(state)
        self._tree = SumTree(self.capacity)
        self._tree.set(np.arange(self._size), state["priority"].numpy(force=True))
        self._largest, self._fraction = state["largest"], state["fraction"]

    def _settings(self) -> dict[str, float]:
        return super()._settings() | {"alpha": self.alpha, "epsilon": self.epsilon}

    def _draw(self, batch_size: int) -> tuple[Tensor, Rows]:
        if not self._tree.total > 0.0:
            raise RuntimeError("expected a row of priority above 0 to draw, got none; use an epsilon above 0")
        place = torch.rand(batch_size, generator=self._generator, dtype=torch.float64).numpy()
        mass = (np.arange(batch_size) + place) * (self._tree.total / batch_size)
        index = self._tree.find(mass)
        priority = self._tree.get(index)
        # N and Σp cancel in (N · p_i / Σp)^−β divided by its largest, which belongs to the smallest priority.
        weight = (priority.min() / priority) ** self.beta
        weight = torch.from_numpy(weight[:, None].astype(np.float32)).to(self.device)
        return torch.from_numpy(index), {"priority_weight": weight}

    def _write(self, start: int, stop: int, rows: Rows) -> None:
        super()._write(start, stop, rows)
        newest = self._priority(np.array(self._largest))
        self._tree.set(np.arange(start, stop), np.full(stop - start, newest))

    def _priority(self, error: np.ndarray) -> np.ndarray:
        return (error + self.epsilon) ** self.alpha
