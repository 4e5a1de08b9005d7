"""The prioritized replay buffer."""

import numpy as np
import torch
from torch import Tensor

from qframe.replay.priorities import PRIORITY_BYTES, DrawsByPriority, Priorities, checked_errors
from qframe.replay.rows import Rows
from qframe.replay.transitions import ReplayBuffer


class PrioritizedReplayBuffer(DrawsByPriority, ReplayBuffer):
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
        max_td_error: a larger |δ| counts as this; None leaves it.

    Raises:
        ValueError: an argument is out of its range.
    """

    bookkeeping_bytes = ReplayBuffer.bookkeeping_bytes + PRIORITY_BYTES

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
        max_td_error: float | None = None,
    ) -> None:
        super().__init__(
            capacity, batch_size, gamma=gamma, n_step=n_step, num_envs=num_envs, device=device, seed=seed
        )
        self._priorities = Priorities(
            capacity, alpha=alpha, beta=beta, beta_end=beta_end, epsilon=epsilon, max_td_error=max_td_error
        )

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
        error = checked_errors(td_error, len(rows))
        if len(rows) and not 0 <= rows.min() <= rows.max() < self._size:
            raise IndexError(
                f"expected rows in 0 … {self._size - 1}, got {rows.min()} … {rows.max()}; pass 'index' of a sample"
            )
        self._priorities.update(rows, error)

    def state_dict(self, *, live: bool = False) -> dict:
        """The rows, their priorities and all else that makes what comes next."""
        return super().state_dict(live=live) | self._priorities.state_dict(np.arange(self._size))

    def load_state_dict(self, state: dict) -> None:
        """Take over what ``state_dict`` gave.

        Raises:
            ValueError: the state comes from a buffer of other settings.
        """
        super().load_state_dict(state)
        self._priorities.load_state_dict(state, np.arange(self._size))

    def _settings(self) -> dict[str, float | None]:
        return super()._settings() | self._priorities.settings()

    def _draw(self, batch_size: int) -> tuple[Tensor, Rows]:
        index, weight = self._priorities.draw(batch_size, self.generator)
        return torch.from_numpy(index), {"priority_weight": weight.unsqueeze(-1).to(self.device)}

    def _write(self, start: int, stop: int, rows: Rows) -> None:
        super()._write(start, stop, rows)
        self._priorities.renew(np.arange(start, stop))
