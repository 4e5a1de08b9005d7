"""The prioritized replay buffer of trajectory slices."""

import numpy as np
import torch
from torch import Tensor

from qframe.replay.priorities import PRIORITY_BYTES, DrawsByPriority, Priorities, checked_errors
from qframe.replay.rows import Rows
from qframe.replay.slices import SliceReplayBuffer

MAX_SHARE = 0.9  # η of R2D2


class PrioritizedSliceReplayBuffer(DrawsByPriority, SliceReplayBuffer):
    """A buffer of slices that draws one with probability ``p / Σ p``, ``p = (η · max |δ| + (1 − η) · mean |δ| + ε)^α``.

    The maximum and the mean are over the slice's steps, and η is .9. See "Recurrent Experience Replay in Distributed
    Reinforcement Learning", Kapturowski et al., 2019, section 2.3, and "Prioritized Experience Replay", Schaul et al.,
    2016, section 3.

    A sample has one more key: "priority_weight", float32 ``[B / T, T, 1]``, the importance weight of a slice at each of
    its steps, divided by the batch's largest.

    Invariants, besides those of ``SliceReplayBuffer`` (but that draws are not uniform):
        - Slices overlap, and each has a priority of its own, from the step on that completes it: the largest that any
          update has brought so far, and 1 before any has brought more.
        - With ``across_episodes=False`` only slices within one episode have a priority.
        - The batch is stratified: draw i lies in the i-th of equal parts of the total mass.
        - NaN, infinite or negative errors raise before they reach a priority.

    Args:
        capacity, batch_size, slice_length, gamma, num_envs, across_episodes, device, seed: as for
            ``SliceReplayBuffer``.
        alpha: α ≥ 0; 0 is uniform.
        beta: β at first, in ``[0, 1]``; 1 corrects the bias of sampling in full.
        beta_end: β at last, in ``[0, 1]``.
        epsilon: ε ≥ 0, in units of δ.
        max_td_error: a larger sum of both counts as this; None leaves it.

    Raises:
        ValueError: an argument is out of its range.
    """

    bookkeeping_bytes = SliceReplayBuffer.bookkeeping_bytes + PRIORITY_BYTES

    def __init__(
        self,
        capacity: int,
        batch_size: int,
        *,
        slice_length: int,
        gamma: float,
        num_envs: int = 1,
        across_episodes: bool = True,
        device: torch.device | str = "cpu",
        seed: int = 0,
        alpha: float = 0.6,
        beta: float = 0.4,
        beta_end: float = 1.0,
        epsilon: float = 1e-6,
        max_td_error: float | None = None,
    ) -> None:
        super().__init__(
            capacity,
            batch_size,
            slice_length=slice_length,
            gamma=gamma,
            num_envs=num_envs,
            across_episodes=across_episodes,
            device=device,
            seed=seed,
        )
        rows = self._length * num_envs  # a slice goes by the number of its first row
        self._priorities = Priorities(
            rows, alpha=alpha, beta=beta, beta_end=beta_end, epsilon=epsilon, max_td_error=max_td_error
        )

    def update_priority(self, index: Tensor, td_error: Tensor) -> None:
        """Set the priorities of slices; where one repeats, the last wins. Those overwritten meanwhile are passed over.

        Args:
            index: rows, int64 ``[B / T, T]``, "index" of a sample.
            td_error: |δ| of every step, ``[B / T, T]`` or ``[B / T, T, 1]``, in units of the return.

        Raises:
            IndexError: a row that the buffer does not have.
            ValueError: an error is NaN, infinite or negative, or there is not one per row; nothing has changed.
        """
        rows = index.numpy(force=True).reshape(-1, self.slice_length)
        error = checked_errors(td_error, rows.size).reshape(rows.shape)
        start = rows[:, 0]
        last = len(self._age) - 1
        if len(rows) and not 0 <= start.min() <= start.max() <= last:
            found = f"{start.min()} … {start.max()}"
            raise IndexError(f"expected rows in 0 … {last}, got {found}; pass 'index' of a sample")
        whole = self._holds_slice(start)
        priority = MAX_SHARE * error.max(-1, initial=0.0) + (1 - MAX_SHARE) * error.mean(-1)
        self._priorities.update(start[whole], priority[whole])

    def state_dict(self, *, live: bool = False) -> dict:
        """The rows, the slices' priorities and all else that makes what comes next."""
        return super().state_dict(live=live) | self._priorities.state_dict(self._filled())

    def load_state_dict(self, state: dict) -> None:
        """Take over what ``state_dict`` gave.

        Raises:
            ValueError: the state comes from a buffer of other settings.
        """
        super().load_state_dict(state)
        self._priorities.load_state_dict(state, self._filled())

    def _settings(self) -> dict[str, float | None]:
        own = {"slice_length": self.slice_length, "across_episodes": self.across_episodes}
        return super()._settings() | own | self._priorities.settings()

    def _draw_slices(self, count: int) -> tuple[Tensor, Rows]:
        self._fitting()
        if not self._priorities.total and not self._holds_slice(self._filled()).any():
            raise self._only_shorter_episodes()
        start, weight = self._priorities.draw(count, self.generator)
        rows = self._following(start)
        weight = weight.to(self.device)[:, None, None].expand(*rows.shape, 1)
        return torch.from_numpy(rows), {"priority_weight": weight}

    def _append(self, env: np.ndarray, ended: np.ndarray, rows: Rows) -> None:
        at = env * self._length + self._cursor[env]
        super()._append(env, ended, rows)
        self._priorities.forget(at)
        start = self._moved(at, 1 - self.slice_length)
        self._priorities.renew(start[self._holds_slice(start)])

    def _holds_slice(self, start: np.ndarray) -> np.ndarray:
        """Whether a slice that may be drawn begins at these rows."""
        env = start // self._length
        age = (start - self._cursor[env] + self._size[env]) % self._length  # from the oldest step of the environment
        fits = age + self.slice_length <= self._size[env]
        if self.across_episodes:
            return fits
        return fits & (self._age[self._moved(start, self.slice_length - 1)] >= self.slice_length)

    def _following(self, start: np.ndarray) -> np.ndarray:
        """Row numbers ``[k, T]`` of the slices that begin at these rows."""
        return self._moved(start[:, None], np.arange(self.slice_length))

    def _moved(self, row: np.ndarray, steps: np.ndarray | int) -> np.ndarray:
        """The rows so many steps later, within the same environment's rows."""
        first = row - row % self._length
        return first + (row - first + steps) % self._length
