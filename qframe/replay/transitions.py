"""The uniform replay buffer."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from tensordict import TensorDict
from torch import Tensor

from qframe.replay.memory import usable_device
from qframe.replay.n_step import NStepFold
from qframe.replay.rows import REWARD, Rows
from qframe.replay.storage import Gathered, RowSchema, TensorStorage, take_span

EMPTY = "expected a transition to sample, got an empty buffer; extend it first"


class _Sample(NamedTuple):
    """A batch that was given out, and the memory that it is views of."""

    batch: TensorDict
    gathered: Gathered
    more: Rows


class ReplayBuffer:
    """The last ``capacity`` n-step transitions, sampled uniformly with replacement.

    See "Self-Improving Reactive Agents Based on Reinforcement Learning, Planning and Teaching", Lin, 1992, and
    "Human-level control through deep reinforcement learning", Mnih et al., 2015, Methods.

    ``extend`` takes single steps and folds them as ``NStepFold`` says; ``sample`` gives the keys that came, but
    "env", and three more:

        - ("next", "discount"), float ``[B, 1]``: γᵏ, 0 where the episode terminated. γ has no other source.
        - "steps_to_next_obs", int64 ``[B, 1]``: k.
        - "index", int64 ``[B]``: the rows drawn, for ``update_priority``.

    Invariants:
        - Row i of the buffer is the transition that was stored last among those stored as number i modulo capacity.
        - Dtypes are kept: uint8 frames stay uint8.
        - An ``extend`` that raises has changed nothing.
        - A buffer that loads a state goes on bit for bit as the one that gave it: open n-step windows and the
          generator are part of it.

    Args:
        capacity: transitions kept; memory is taken at the first ``extend``, both observations of each.
        batch_size: B, of a sample.
        gamma: γ in ``[0, 1]``, per step.
        n_step: n ≥ 1, steps that a transition spans at most.
        num_envs: streams of steps, those of rows ``env`` in ``0 … num_envs − 1``.
        device: where rows are stored and samples come.
        seed: of the generator that draws rows; it is the buffer's own, on the host: a seed draws alike everywhere.

    Raises:
        ValueError: an argument is out of its range.

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

    draws_alike = True
    """Whether a draw does not depend on what was learnt from earlier ones, so that several may be made at once."""
    observations_per_row = 2
    """How many observations a row keeps whole: a step's own and the next."""
    bookkeeping_bytes = 4 + 8
    """What a row takes beside what came: the discount and the number of steps."""

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
    ) -> None:
        check_sizes(capacity, batch_size)
        if n_step > capacity:
            raise ValueError(f"expected n_step of at most capacity = {capacity}, got {n_step}; raise the capacity")
        self.capacity, self.batch_size = capacity, batch_size
        self.gamma, self.n_step, self.num_envs = gamma, n_step, num_envs
        self.device = usable_device(device)
        self._schema = RowSchema(num_envs, device)
        self._fold = NStepFold(n_step, gamma, num_envs=num_envs, device=device)
        self._storage = TensorStorage(capacity, device, is_paged=True)
        self.generator = torch.Generator().manual_seed(seed)
        self._cursor = 0  # the row that is written next
        self._size = 0
        self._last: _Sample | None = None

    def __len__(self) -> int:
        """Transitions stored; steps in open n-step windows are not among them yet."""
        return self._size

    @torch.no_grad()
    def extend(self, transitions: TensorDict) -> None:
        """Fold steps and store the transitions that they complete.

        Args:
            transitions: steps ``[k]``, those of one environment in time order, with int64 "env" ``[k]`` and, under
                "next", float "reward" and bool "terminated", "truncated", "done" (either of them) ``[k, 1]``.

        Raises:
            KeyError: a key is missing or new, compared with the first rows.
            ValueError: a shape or a dtype is not that of the first rows; an "env" is out of its range.
        """
        self._store(self._fold.push(self._schema.check(transitions)))

    def flush(self, env: int | None = None) -> None:
        """Store the open n-step windows of one or all environments as truncated after their last step.

        For environments that are abandoned amid an episode: what comes next for them is another episode.
        """
        self._store(self._fold.flush(env))

    def sample(
        self, batch_size: int | None = None, *, batches: int = 1, reuse: TensorDict | None = None
    ) -> TensorDict:
        """Transitions ``[batches · B]``, drawn with replacement.

        Args:
            batch_size: B, in place of the buffer's own.
            batches: one after another, the same that as many calls would draw.
            reuse: what the last call returned, its entries as they came, if it is needed no more: it may be filled
                anew and returned, which is several times as fast as a new batch.

        Raises:
            RuntimeError: nothing is stored yet.
        """
        if not self._size:
            raise RuntimeError(EMPTY)
        index, more = self._draw_batches(batch_size, batches)
        index = index.to(self.device)
        last = self._last
        if last is None or last.batch is not reuse or len(last.batch) != len(index):
            gathered, more = self._storage.gather(index), {"index": index, **more}
            self._last = _Sample(TensorDict(gathered.rows | more, batch_size=index.shape), gathered, more)
            return self._last.batch
        self._storage.gather(index, last.gathered)
        last.more["index"].copy_(index)
        for key, value in more.items():
            last.more[key].copy_(value)
        return last.batch

    def draw(self, batches: int = 1) -> tuple[Rows, Tensor, Rows]:
        """Samples that are yet to be read, which compiled code does faster; the same that as many calls would draw.

        Returns:
            All rows as they are stored, ``[capacity, …]``, the numbers of those drawn, ``[batches · B]``, and what is
            known of them but not stored, ``[batches · B, …]``.

        Raises:
            RuntimeError: nothing is stored yet.
        """
        if not self._size:
            raise RuntimeError(EMPTY)
        index, more = self._draw_batches(None, batches)
        return self._storage.leaves, index.to(self.device), more

    def update_priority(self, index: Tensor, td_error: Tensor) -> None:
        """Nothing: all rows are drawn alike. It is here so that a learner need not ask."""

    def anneal(self, fraction: float) -> None:
        """Nothing: no hyperparameter changes during a run. It is here so that a learner need not ask."""

    def state_dict(self, *, live: bool = False) -> dict:
        """The rows and all else that makes what comes next, as tensors and plain values.

        Args:
            live: rows come as pages that are read when they are written to a checkpoint, and are not copied here.
        """
        index = torch.arange(self._size, device=self.device)
        return {
            "settings": self._settings(),
            "schema": self._schema.state_dict(),
            "fold": self._fold.state_dict(),
            "rows": self._storage.pages() if live else self._storage.read(index),
            "cursor": self._cursor,
            "size": self._size,
            "generator": self.generator.get_state(),
        }

    def load_state_dict(self, state: dict) -> None:
        """Take over what ``state_dict`` gave.

        Raises:
            ValueError: the state comes from a buffer of other settings.
        """
        check_settings(self._settings(), state["settings"])
        self._schema.load_state_dict(state["schema"])
        self._fold.load_state_dict(state["fold"])
        self._cursor, self._size, self._last = state["cursor"], state["size"], None
        self._storage.restore(torch.arange(self._size, device=self.device), state["rows"])
        self.generator.set_state(state["generator"].cpu())

    def _settings(self) -> dict[str, float | None]:
        """What must be equal for a state to be taken over."""
        return {"capacity": self.capacity, "gamma": self.gamma, "n_step": self.n_step, "num_envs": self.num_envs}

    def _draw_batches(self, batch_size: int | None, batches: int) -> tuple[Tensor, Rows]:
        batch_size = self.batch_size if batch_size is None else batch_size
        return joined([self._draw(batch_size) for _ in range(batches)])

    def _draw(self, batch_size: int) -> tuple[Tensor, Rows]:
        """Row numbers ``[B]`` on the host, and what a sample says of them."""
        return torch.randint(self._size, (batch_size,), generator=self.generator), {}

    def _store(self, rows: Rows) -> None:
        """Write rows ``[m]`` from the cursor on, cut where they reach the buffer's end."""
        count, written = len(rows[REWARD]) if rows else 0, 0
        while written < count:
            stop = min(self._cursor + count - written, self.capacity)
            fitting = stop - self._cursor
            self._write(self._cursor, stop, take_span(rows, written, written + fitting))
            written += fitting
            self._size, self._cursor = max(self._size, stop), stop % self.capacity

    def _write(self, start: int, stop: int, rows: Rows) -> None:
        self._storage.write_span(start, stop, rows)


def joined(drawn: Sequence[tuple[Tensor, Rows]]) -> tuple[Tensor, Rows]:
    """Batches that were drawn one after another, as one: row numbers ``[B, …]``, and what is known of the rows."""
    if len(drawn) == 1:
        return drawn[0]
    index, more = zip(*drawn, strict=True)
    return torch.cat(index), {key: torch.cat([rows[key] for rows in more]) for key in more[0]}


def check_sizes(capacity: int, batch_size: int) -> None:
    """A sample is not empty, and a buffer holds at least one."""
    if batch_size < 1:
        raise ValueError(f"expected a batch_size of at least 1, got {batch_size}; 32 is common")
    if capacity < batch_size:
        raise ValueError(
            f"expected a capacity of at least batch_size = {batch_size}, got {capacity}; raise it or sample fewer"
        )


def check_settings(own: dict[str, float | None], saved: dict[str, float | None]) -> None:
    """A saved state fits: the settings that it was made under are one's own."""
    different = [f"{name} = {own[name]} here, {saved.get(name)} saved" for name in own if own[name] != saved.get(name)]
    if different:
        raise ValueError(
            f"expected the state of a buffer of the same settings, got {'; '.join(different)}; build the buffer alike"
        )
