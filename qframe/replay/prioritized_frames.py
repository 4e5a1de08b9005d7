"""Prioritized replay of stacked frames, each kept once."""

import numpy as np
import torch
from torch import Tensor

from qframe.replay.frame_storage import Place
from qframe.replay.frames import FrameReplayBuffer
from qframe.replay.priorities import PRIORITY_BYTES, DrawsByPriority, Priorities, checked_errors
from qframe.replay.rows import Rows


class PrioritizedFrameReplayBuffer(DrawsByPriority, FrameReplayBuffer):
    """Frames kept once, and a transition drawn with probability ``P_i = p_i / Σ p``, where ``p = (|δ| + ε)^α``.

    See "Prioritized Experience Replay", Schaul et al., 2016, sections 3.3 and 3.4, and ``PrioritizedReplayBuffer``.

    Args:
        capacity, batch_size, gamma, n_step, stack, storage, num_envs, device, seed: as for ``FrameReplayBuffer``.
        alpha: α ≥ 0; 0 is uniform.
        beta: β at first, in ``[0, 1]``; 1 corrects the bias of sampling in full.
        beta_end: β at last, in ``[0, 1]``.
        epsilon: ε ≥ 0, in units of δ.
        max_td_error: a larger |δ| counts as this; None leaves it.

    Raises:
        ValueError: an argument is out of its range.
    """

    bookkeeping_bytes = FrameReplayBuffer.bookkeeping_bytes + PRIORITY_BYTES

    def __init__(
        self,
        capacity: int,
        batch_size: int,
        *,
        gamma: float,
        n_step: int = 1,
        stack: int = 4,
        storage: Place = "memory",
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
            capacity, batch_size, gamma=gamma, n_step=n_step, stack=stack, storage=storage, num_envs=num_envs,
            device=device, seed=seed,
        )
        rows = len(self._streams.complete)
        self._priorities = Priorities(
            rows, alpha=alpha, beta=beta, beta_end=beta_end, epsilon=epsilon, max_td_error=max_td_error
        )

    def update_priority(self, index: Tensor, td_error: Tensor) -> None:
        """Set the priorities of transitions; where one repeats, the last wins. Those overwritten are passed over.

        Args:
            index: rows, int64 ``[B]``, "index" of a sample.
            td_error: |δ|, ``[B]`` or ``[B, 1]``, in units of the return.

        Raises:
            IndexError: a row that the buffer does not have.
            ValueError: an error is NaN, infinite or negative, or there is not one per row; nothing has changed.
        """
        rows = index.numpy(force=True).reshape(-1)
        error = checked_errors(td_error, len(rows))
        last = len(self._streams.complete) - 1
        if len(rows) and not 0 <= rows.min() <= rows.max() <= last:
            raise IndexError(f"expected rows in 0 … {last}, got {rows.min()} … {rows.max()}; pass 'index' of a sample")
        there = self._streams.complete[rows]
        self._priorities.update(rows[there], error[there])

    def state_dict(self, *, live: bool = False) -> dict:
        """The rows, their priorities and all else that makes what comes next."""
        return super().state_dict(live=live) | self._priorities.state_dict(self._streams.filled())

    def load_state_dict(self, state: dict) -> None:
        """Take over what ``state_dict`` gave.

        Raises:
            ValueError: the state comes from a buffer of other settings.
        """
        super().load_state_dict(state)
        self._priorities.load_state_dict(state, self._streams.filled())

    def _settings(self) -> dict[str, float | None]:
        return super()._settings() | self._priorities.settings()

    def _draw(self, batch_size: int) -> tuple[Tensor, Rows]:
        index, weight = self._priorities.draw(batch_size, self.generator)
        return torch.from_numpy(index), {"priority_weight": weight.unsqueeze(-1).to(self.device)}

    def _changed(self, rows: np.ndarray) -> None:
        there = self._streams.complete[rows]
        self._priorities.forget(rows[~there])
        self._priorities.renew(rows[there])
