"""Replay of n-step transitions, each stored whole."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from tensordict import TensorDict

from qframe.replay.base import ReplayBase
from qframe.replay.n_step import NStepFold
from qframe.replay.protocol import Priorities, Settings
from qframe.replay.rows import INDEX, REWARD, Rows, take_span
from qframe.replay.storage import Gathered, TensorStorage


class _Sample(NamedTuple):
    """The last sample, and the memory that it views."""

    batch: TensorDict
    gathered: Gathered
    more: Rows


class ReplayBuffer(ReplayBase):
    """The last ``capacity`` n-step transitions, drawn with replacement, uniformly or by priority.

    See "Self-Improving Reactive Agents Based on Reinforcement Learning, Planning and Teaching", Lin, 1992, and
    "Human-level control through deep reinforcement learning", Mnih et al., 2015, Methods.

    ``extend`` takes single steps and folds them as ``NStepFold`` does (steps in open windows do not count as stored),
    ``flush`` stores the open windows; ``sample`` returns ``[batches · B]`` with the keys of the steps except "env", and
    these:

        - ("next", "discount"), float ``[B, 1]``: γᵏ, 0 if the episode terminated. γ has no other source.
        - "steps_to_next_obs", int64 ``[B, 1]``: k.
        - "index", int64 ``[B]``: the rows drawn, for ``update_priority``.
        - "priority_weight", float32 ``[B, 1]``, with priorities only: the importance weights.

    Invariants:
        - Row i is the last transition stored among those whose number is i modulo ``capacity``.
        - Dtypes are kept: uint8 frames stay uint8.
        - An ``extend`` that raises has changed nothing.
        - A replay that loads a state continues bit for bit like the one that saved it: open n-step windows, priorities
          and the generator are part of it.

    Args:
        capacity: transitions kept; memory is allocated by the first ``extend``, two observations for each.
        batch_size: B, transitions of a sample.
        gamma: γ in ``[0, 1]``, per step.
        n_step: n ≥ 1, most steps of a transition.
        num_envs: number of environments, numbered ``0 … num_envs − 1`` under "env".
        priorities: how often each transition is drawn; None draws uniformly.
        device: where rows are stored and samples arrive.
        seed: of the generator that draws rows, which is on the CPU: a seed draws the same rows on every device.

    Raises:
        ValueError: an argument is out of range.

    >>> buffer = ReplayBuffer(100, 2, gamma=0.9)
    >>> buffer.extend(TensorDict({
    ...     "observation": torch.zeros(1, 4), "action": torch.tensor([1]), "env": torch.tensor([0]),
    ...     "next": {"observation": torch.ones(1, 4), "reward": torch.tensor([[5.0]]),
    ...              "terminated": torch.tensor([[False]]), "truncated": torch.tensor([[True]]),
    ...              "done": torch.tensor([[True]])},
    ... }, batch_size=[1]))
    >>> buffer.sample()["next", "discount"]
    tensor([[0.9000],
            [0.9000]])
    """

    layout_bytes = 4 + 8
    """The discount and the number of steps."""
    _draws_row_by_row = True

    def __init__(
        self,
        capacity: int,
        batch_size: int,
        *,
        gamma: float,
        n_step: int = 1,
        num_envs: int = 1,
        priorities: Priorities | None = None,
        device: torch.device | str = "cpu",
        seed: int = 0,
    ) -> None:
        super().__init__(
            capacity, batch_size, gamma=gamma, num_envs=num_envs, priorities=priorities, device=device, seed=seed
        )
        if n_step > capacity:
            raise ValueError(f"expected n_step of at most capacity = {capacity}, got {n_step}; raise the capacity")
        self.n_step = n_step
        self._fold = NStepFold(n_step, gamma, num_envs=num_envs, device=device)
        self._storage = TensorStorage(capacity, device, is_paged=True)
        self._cursor = 0  # the row that is written next
        self._size = 0
        self._last: _Sample | None = None
        if priorities is not None:
            priorities.allocate(capacity)

    def observation_bytes(self, size: int) -> int:
        return 2 * size

    def __len__(self) -> int:
        return self._size

    @torch.no_grad()
    def extend(self, transitions: TensorDict) -> None:
        self._store(self._fold.push(self._schema.check(transitions)))

    def flush(self, env: int | None = None) -> None:
        self._store(self._fold.flush(env))

    def sample(
        self, batch_size: int | None = None, *, batches: int = 1, reuse: TensorDict | None = None
    ) -> TensorDict:
        index, more = self.draw(batch_size, batches=batches)
        last = self._last
        if last is None or last.batch is not reuse or last.more[INDEX].shape != index.shape:
            gathered, more = self._storage.gather(index), {INDEX: index, **more}
            self._last = _Sample(TensorDict(gathered.rows | more, batch_size=index.shape), gathered, more)
            return self._last.batch
        self._storage.gather(index, last.gathered)
        last.more[INDEX].copy_(index)
        for key, value in more.items():
            last.more[key].copy_(value)
        return last.batch

    @property
    def stored(self) -> Rows:
        return self._storage.leaves

    @property
    def _num_rows(self) -> int:
        return self._size

    def _draw_uniformly(self, count: int) -> np.ndarray:
        return self._integers(self._size, count)

    def _settings(self) -> Settings:
        return super()._settings() | {"n_step": self.n_step}

    def _filled(self) -> np.ndarray:
        return np.arange(self._size)

    def _layout_state(self, *, live: bool) -> dict[str, Any]:
        index = torch.arange(self._size, device=self.device)
        return {
            "fold": self._fold.state_dict(),
            "rows": self._storage.pages() if live else self._storage.read(index),
            "cursor": self._cursor,
            "size": self._size,
        }

    def _load_layout(self, state: Mapping[str, Any]) -> None:
        self._fold.load_state_dict(state["fold"])
        self._cursor, self._size, self._last = state["cursor"], state["size"], None
        self._storage.restore(torch.arange(self._size, device=self.device), state["rows"])

    def _store(self, rows: Rows) -> None:
        """Write rows ``[m]`` from the cursor on, split at the end of the buffer."""
        count, written = len(rows[REWARD]) if rows else 0, 0
        while written < count:
            start, stop = self._cursor, min(self._cursor + count - written, self.capacity)
            self._storage.write_span(start, stop, span := take_span(rows, written, written + stop - start))
            if self.priorities is not None:
                self.priorities.add(np.arange(start, stop))
            if self._starts_from_td_error:
                self._update_new(np.arange(start, stop), span)
            written += stop - start
            self._size, self._cursor = max(self._size, stop), stop % self.capacity
