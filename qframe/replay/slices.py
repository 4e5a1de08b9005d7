"""Replay of slices: consecutive steps of one environment."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, cast

import numpy as np
import torch
from tensordict import TensorDict
from torch import Tensor

from qframe.replay.base import ReplayBase
from qframe.replay.n_step import distinct_runs, one_step
from qframe.replay.next_observations import NextObservations, is_small
from qframe.replay.protocol import Priorities, Settings
from qframe.replay.rows import (
    DISCOUNT,
    DONE,
    ENV,
    INDEX,
    LOSS_MASK,
    REWARD,
    STEPS,
    TERMINATED,
    TRUNCATED,
    WEIGHT,
    Rows,
    chosen_envs,
    take_span,
)
from qframe.replay.stacked_storage import StackedStorage
from qframe.replay.storage import TensorStorage

TIME_LAST = cast("Sequence[str]", (None, "time"))  # tensordict takes None, though its annotation does not say so


class SliceReplayBuffer(ReplayBase):
    """The last steps of every environment, drawn as slices of T consecutive steps: for λ-returns and memory.

    See "Human-level control through deep reinforcement learning", Mnih et al., 2015, for replay, "Reconciling λ-Returns
    with Experience Replay", Daley and Amato, 2019, for slices, and "Recurrent Experience Replay in Distributed
    Reinforcement Learning", Kapturowski et al., 2019, for their priorities.

    A sample is ``[B / T, T]``, its time dimension named "time", with the keys of the steps except "env", and
    ("next", "discount") ``γᵏ · (1 − terminated)``, "steps_to_next_obs" k and "index" ``[B / T, T]``. k is 1, or with
    ``n_step`` the number of steps up to the n-th, the episode's end or the slice's. With priorities it has
    "priority_weight", float32 ``[B / T, T, 1]``: a slice's importance weight, repeated at every step.

    Invariants:
        - A slice holds consecutive steps of one environment, oldest first: it never spans the place where new steps
          overwrite old ones.
        - Without priorities every start from which a slice fits is equally likely, whichever environment it belongs to.
        - Slices overlap, and each has a priority of its own from the step that completes it.
        - Episodes may end within a slice. "done" marks the ends; returns are cut there, and every step has its own next
          observation. ``across_episodes=True``: the steps after an end count as well. ``False``: those after the first
          end behind the burn-in are padding, False under "loss_mask", bool ``[B / T, T, 1]``.
        - Each environment keeps its last ``capacity // num_envs`` steps.
        - A replay that loads a state continues bit for bit like the one that saved it.

    Args:
        capacity: steps kept, of all environments together.
        batch_size: B, steps of a sample: a multiple of ``slice_length``.
        slice_length: T ≥ 1, steps.
        gamma: γ in ``[0, 1]``, per step.
        num_envs: number of environments, numbered ``0 … num_envs − 1`` under "env".
        across_episodes: whether the steps of a slice count that follow the end of an episode.
        n_step: n ≥ 1, most steps of a return.
        burn_in: the first steps of a slice from which only a memory's state is computed; they are not learned from.
        state: whether a memory starts from the state ``stored`` with a slice's first step, or from ``zero``, its
            initial one.
        stride: steps between the starts of neighbouring slices, counted from an episode's first step; slices overlap
            by ``slice_length − stride``.
        stack: frames in an observation, along its first dimension, each of which is then stored once; 1 stores
            observations as they are. ``extend`` raises ``NotStacked`` if one does not continue the one before it.
        priorities: how often each slice is drawn; None draws uniformly.
        device: where rows are stored and samples arrive.
        seed: of the generator that draws slices.

    Raises:
        ValueError: an argument is out of range.
    """

    _stores_transitions = False
    layout_bytes = 4 + 8 + 8
    """The discount, the number of steps, and the step's place in its episode."""

    def __init__(
        self,
        capacity: int,
        batch_size: int,
        *,
        slice_length: int,
        gamma: float,
        num_envs: int = 1,
        across_episodes: bool = True,
        n_step: int = 1,
        burn_in: int = 0,
        state: Literal["stored", "zero"] = "stored",
        stride: int = 1,
        stack: int = 1,
        priorities: Priorities | None = None,
        device: torch.device | str = "cpu",
        seed: int = 0,
    ) -> None:
        super().__init__(
            capacity, batch_size, gamma=gamma, num_envs=num_envs, priorities=priorities, device=device, seed=seed
        )
        if slice_length < 1:
            raise ValueError(f"expected slice_length of at least 1, got {slice_length}; 1 is the plain case")
        for name, number in (("n_step", n_step), ("stride", stride), ("stack", stack)):
            if number < 1:
                raise ValueError(f"expected {name} of at least 1, got {number}; 1 is the plain case")
        if not 0 <= burn_in < slice_length:
            raise ValueError(
                f"expected a burn_in from 0 to slice_length - 1 = {slice_length - 1}, got {burn_in}; it is a part of "
                "every slice, and the rest is learned from"
            )
        self.slice_length, self.across_episodes, self.stores_state = slice_length, across_episodes, state == "stored"
        self.n_step, self.burn_in, self.stride = n_step, burn_in, stride
        self.stack, self.shares_frames = stack, stack > 1
        self._check_multiple(batch_size)
        self._draw_shape = (-1, slice_length)
        self._length = capacity // num_envs  # rows of each environment: those of e start at e · length
        if self._length < slice_length:
            raise ValueError(
                f"expected a capacity of at least num_envs · slice_length = {num_envs * slice_length}, got {capacity}; "
                "raise it: every environment keeps capacity // num_envs steps"
            )
        self._storage = (
            TensorStorage(self._length * num_envs, device, is_paged=True)
            if stack == 1
            else StackedStorage(num_envs, self._length, stack, device)
        )
        self._following = NextObservations(num_envs, self._length, device)
        self._cursor = np.zeros(num_envs, np.int64)  # the row of each environment that is written next
        self._size = np.zeros(num_envs, np.int64)
        self._open = np.zeros(num_envs, np.int64)  # steps so far of the current episode
        self._age = np.zeros(self._length * num_envs, np.int64)  # steps of its episode up to and including each row
        if priorities is not None:
            priorities.allocate(self._num_rows)  # a slice has the number of its first row

    def __len__(self) -> int:
        return int(self._size.sum())

    def observation_bytes(self, size: int) -> int:
        return size // self.stack + (size if is_small(size) else 0)  # a large next one is the next row's

    @torch.no_grad()
    def extend(self, transitions: TensorDict) -> None:
        rows = self._schema.check(transitions)
        env = rows[ENV].numpy(force=True)
        ended = (rows[TERMINATED] | rows[TRUNCATED]).numpy(force=True)[:, 0]
        rows = one_step(rows, self.gamma)
        for start, stop in distinct_runs(env):
            self._append(env[start:stop], ended[start:stop], take_span(rows, start, stop))

    def flush(self, env: int | None = None) -> None:
        envs = chosen_envs(env, self.num_envs)
        envs = envs[self._open[envs] > 0]
        if not len(envs):
            return
        last = envs * self._length + (self._cursor[envs] - 1) % self._length
        cut = torch.ones(len(envs), 1, dtype=torch.bool, device=self.device)
        self._storage.write(torch.from_numpy(last).to(self.device), {TRUNCATED: cut, DONE: cut})
        self._open[envs] = 0

    def sample(
        self, batch_size: int | None = None, *, batches: int = 1, reuse: TensorDict | None = None
    ) -> TensorDict:
        index, more = self.draw(batch_size, batches=batches)
        leaves = self._read(index.view(-1))
        leaves = {key: leaf.view(*index.shape, *leaf.shape[1:]) for key, leaf in leaves.items()}
        if not self.across_episodes:
            leaves[LOSS_MASK] = self._counts(leaves[DONE])
        if self.n_step > 1:
            leaves |= fold_along(leaves, self.n_step, self.gamma)
        return TensorDict(leaves | {INDEX: index} | more, batch_size=index.shape, names=TIME_LAST)

    def _read(self, index: Tensor) -> Rows:
        """The steps in rows ``[k]``."""
        return self._storage.gather(index).rows | self._following.read(index.numpy(force=True), self._storage)

    @property
    def _num_rows(self) -> int:
        return self._length * self.num_envs

    def _draw(self, batch_size: int) -> tuple[Tensor, Rows]:
        self._check_multiple(batch_size)
        count = batch_size // self.slice_length
        if self.priorities is None:
            return self._slices(self._draw_uniformly(count)), {}
        self._num_fitting()
        first, weight = self.priorities.draw(count, self.generator)
        index = self._slices(first)
        return index, {WEIGHT: weight.to(self.device)[:, None, None].expand(*index.shape, 1)}

    def _settings(self) -> Settings:
        settings = super()._settings()
        own = {"stack": (self.stack, 1)}  # these are not saved by runs of earlier versions
        if self.priorities is not None:
            settings |= {"slice_length": self.slice_length, "across_episodes": self.across_episodes}
            own |= {"burn_in": (self.burn_in, 0), "stride": (self.stride, 1)}
        return settings | {name: value for name, (value, usual) in own.items() if value != usual}

    def _not_overwritten(self, row: np.ndarray, error: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        kept = self._holds_slice(row)
        return row[kept], error[kept]

    def _by_draw(self, row: np.ndarray, error: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """A slice has the priority of its first row; its errors are those of the steps that are learned from."""
        error = error.reshape(row.shape)
        if not self.across_episodes:
            done = self._storage.column(DONE, torch.from_numpy(row).to(self.device)).view(*row.shape, 1)
            error = np.where(self._counts(done).squeeze(-1).numpy(force=True), error, np.nan)
        return row[:, 0], error[:, self.burn_in :]

    def _counts(self, done: Tensor) -> Tensor:
        """Whether each step is of the episode of the first step behind the burn-in, or before it, ``[k, T, 1]``."""
        earlier = done.to(torch.int32)
        earlier[:, : self.burn_in] = 0
        return earlier.cumsum(1) - earlier == 0

    def _filled(self) -> np.ndarray:
        """The filled rows, environment by environment: each fills from its first row on."""
        return (np.arange(self._length) < self._size[:, None]).reshape(-1).nonzero()[0]

    def _layout_state(self, *, live: bool) -> dict[str, Any]:
        filled = self._filled()
        index = torch.from_numpy(filled).to(self.device)
        return {
            "rows": self._storage.pages() if live else self._storage.read(index),
            "age": torch.from_numpy(self._age[filled]),
            "cursor": torch.tensor(self._cursor),
            "size": torch.tensor(self._size),
            "open": torch.tensor(self._open),
            "following": self._following.state_dict(),
            "stacked": self._storage.apart() if isinstance(self._storage, StackedStorage) else None,
        }

    def _load_layout(self, state: Mapping[str, Any]) -> None:
        self._cursor, self._size, self._open = (
            state[name].numpy(force=True).copy() for name in ("cursor", "size", "open")
        )
        filled = self._filled()
        self._age[filled] = state["age"].numpy(force=True)
        self._storage.restore(torch.from_numpy(filled).to(self.device), state["rows"])
        self._following.load_state_dict(state.get("following"))
        if isinstance(self._storage, StackedStorage):
            self._storage.load_apart(state["stacked"], filled)

    def _append(self, env: np.ndarray, ended: np.ndarray, rows: Rows) -> None:
        """Write one row for each of the environments ``env`` ``[k]``, all different."""
        row = env * self._length + self._cursor[env]
        self._storage.write(torch.from_numpy(row).to(self.device), self._following.take(rows))
        self._following.append(env, row, ended, rows)
        self._age[row] = self._open[env] + 1
        self._open[env] = np.where(ended, 0, self._age[row])
        self._cursor[env] = (self._cursor[env] + 1) % self._length
        self._size[env] = np.minimum(self._size[env] + 1, self._length)
        if self.priorities is not None:
            self.priorities.remove(row)
            first = self._moved(row, 1 - self.slice_length)
            self.priorities.add(first[self._holds_slice(first)])

    def _draw_uniformly(self, count: int) -> np.ndarray:
        """First rows ``[count]`` of slices, all allowed ones equally likely."""
        fitting = self._num_fitting()
        if self.stride == 1:
            return self._nth_first(self._integers(fitting, count))
        # Of four times as many as needed, enough are usually starts; a list of all would be as long as the buffer.
        # Both ways draw uniformly.
        first = self._nth_first(self._integers(fitting, 4 * self.stride * count))
        first = first[self._is_start(first)][:count]
        if len(first) == count:
            return first
        every = self._nth_first(np.arange(fitting))
        starts = every[self._is_start(every)]
        if not len(starts):
            raise RuntimeError(f"no slice begins at a multiple of stride={self.stride} yet; call extend first")
        return np.concatenate([first, starts[self._integers(len(starts), count - len(first))]])

    def _num_fitting(self) -> int:
        """Number of slices that fit into the steps stored, at least one."""
        fitting = int(self._num_starts().sum())
        if not fitting:
            raise RuntimeError(
                f"no environment has the {self.slice_length} steps of a slice yet, at most {self._size.max()}; "
                "call extend first, or use a smaller slice_length"
            )
        return fitting

    def _num_starts(self) -> np.ndarray:
        """Number of slices that fit into each environment's steps, ``[E]``."""
        return np.maximum(self._size - self.slice_length + 1, 0)

    def _nth_first(self, number: np.ndarray) -> np.ndarray:
        """First rows ``[k]`` of the slices with these numbers, counted by environment and oldest first."""
        starts = self._num_starts()  # [E]
        ends = starts.cumsum()
        env = ends.searchsorted(number, side="right")  # [k]
        age = number - (ends - starts)[env]  # from the oldest step of the environment
        return env * self._length + (self._cursor[env] - self._size[env] + age) % self._length

    def _holds_slice(self, first: np.ndarray) -> np.ndarray:
        """Whether a slice that may be drawn begins at these rows."""
        env = first // self._length
        age = (first - self._cursor[env] + self._size[env]) % self._length  # from the oldest step of the environment
        return (age + self.slice_length <= self._size[env]) & self._is_start(first)

    def _is_start(self, first: np.ndarray) -> np.ndarray:
        """Whether slices may begin at these rows: the step behind the burn-in is the first of a stride."""
        return (self._age[self._moved(first, self.burn_in)] - 1) % self.stride == 0

    def _slices(self, first: np.ndarray) -> Tensor:
        """Rows ``[k, T]`` of the slices that begin at rows ``first`` ``[k]``."""
        return torch.from_numpy(self._moved(first[:, None], np.arange(self.slice_length))).to(self.device)

    def _moved(self, row: np.ndarray, steps: np.ndarray | int) -> np.ndarray:
        """The rows ``steps`` later, within the same environment's rows."""
        place = row % self._length
        return row - place + (place + steps) % self._length

    def _check_multiple(self, batch_size: int) -> None:
        length = self.slice_length
        if batch_size < 1 or batch_size % length:
            raise ValueError(
                f"expected a batch_size in steps, a multiple of slice_length = {length}, got {batch_size}; "
                f"use {max(round(batch_size / length), 1) * length}"
            )


def fold_along(rows: Rows, n_step: int, gamma: float) -> Rows:
    """n-step returns along slices: k ≤ n steps, up to the end of the episode or of the slice, whichever comes first.

    See "Recurrent Experience Replay in Distributed Reinforcement Learning", Kapturowski et al., 2019, section 2.2.

    Args:
        rows: steps ``[*B, T, …]``.
        n_step: n.
        gamma: γ.

    Returns:
        The entries that differ from the steps': all under "next", from the k-th step, but the reward, the sum
        ``Σ_{i<k} γⁱ r_i``, added in float64; "discount" ``γᵏ · (1 − terminated)``; and "steps_to_next_obs" k.

    >>> one, no = torch.ones(1, 3, 1), torch.zeros(1, 3, 1, dtype=torch.bool)
    >>> steps = {REWARD: one, TERMINATED: no, DONE: no}
    >>> folded = fold_along(steps, 2, 0.5)
    >>> folded[REWARD][0, :, 0], folded[DISCOUNT][0, :, 0], folded[STEPS][0, :, 0]
    (tensor([1.5000, 1.5000, 1.0000]), tensor([0.2500, 0.2500, 0.5000]), tensor([2, 2, 1]))
    """
    reward, done = rows[REWARD], rows[DONE].squeeze(-1)
    single, length = reward.double(), done.shape[-1]
    total, steps, is_open = single.clone(), torch.ones_like(done, dtype=torch.int64), ~done
    for i in range(1, min(n_step, length)):
        is_open = is_open[..., :-1]  # the last step has no further one in the slice
        total[..., :-i, :] += torch.where(is_open.unsqueeze(-1), gamma**i * single[..., i:, :], 0.0)
        steps[..., :-i] += is_open
        is_open = is_open & ~done[..., i:]
    last = (torch.arange(length, device=done.device) + steps - 1).unsqueeze(-1)  # [*B, T, 1]
    following = [key for key in rows if key[0] == "next" and key not in (REWARD, DISCOUNT)]
    folded = {key: _gather_along(rows[key], last) for key in following}
    powers = torch.tensor([gamma**k for k in range(n_step + 1)], dtype=reward.dtype, device=reward.device)
    folded[REWARD] = total.to(reward.dtype)
    folded[DISCOUNT] = torch.where(folded[TERMINATED], 0.0, powers[steps].unsqueeze(-1))
    return folded | {STEPS: steps.unsqueeze(-1)}


def _gather_along(leaf: Tensor, place: Tensor) -> Tensor:
    """The entries ``[*B, T, …]`` at places ``[*B, T, 1]`` of time."""
    flat = leaf.flatten(place.ndim - 1) if leaf.ndim >= place.ndim else leaf.unsqueeze(-1)
    return flat.gather(-2, place.expand(*place.shape[:-1], flat.shape[-1])).view(leaf.shape)
