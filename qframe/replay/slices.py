"""Replay of slices: consecutive steps of one environment."""

from collections.abc import Mapping, Sequence
from typing import Any, cast

import numpy as np
import torch
from tensordict import TensorDict
from torch import Tensor

from qframe.errors import RunError
from qframe.replay.base import ReplayBase
from qframe.replay.n_step import distinct_runs, one_step
from qframe.replay.protocol import Priorities, Settings
from qframe.replay.rows import DONE, ENV, INDEX, TERMINATED, TRUNCATED, WEIGHT, Rows, chosen_envs, take_span
from qframe.replay.storage import TensorStorage

TIME_LAST = cast("Sequence[str]", (None, "time"))  # tensordict takes None, though its annotation does not say so


class OnlyShorterEpisodes(RunError, RuntimeError):
    """No episode that is kept is as long as a slice."""


class SliceReplayBuffer(ReplayBase):
    """The last steps of every environment, drawn as slices of T consecutive steps: for λ-returns and memory.

    See "Human-level control through deep reinforcement learning", Mnih et al., 2015, for replay, "Reconciling λ-Returns
    with Experience Replay", Daley and Amato, 2019, for slices, and "Recurrent Experience Replay in Distributed
    Reinforcement Learning", Kapturowski et al., 2019, for their priorities.

    A sample is ``[B / T, T]``, its time dimension named "time", with the keys of the steps except "env", and
    ("next", "discount") ``γ · (1 − terminated)``, "steps_to_next_obs" (always 1) and "index" ``[B / T, T]``. With
    priorities it has "priority_weight", float32 ``[B / T, T, 1]``: a slice's importance weight, repeated at every step.

    Invariants:
        - A slice holds consecutive steps of one environment, oldest first: it never spans the place where new steps
          overwrite old ones.
        - Without priorities every start from which a slice fits is equally likely, whichever environment it belongs to.
        - Slices overlap, and each has a priority of its own from the step that completes it.
        - ``across_episodes=True``: episodes may end within a slice. "done" marks the ends; returns are cut there,
          and every step has its own next observation. ``False``: an episode ends only at a slice's last step.
        - Each environment keeps its last ``capacity // num_envs`` steps.
        - A replay that loads a state continues bit for bit like the one that saved it.

    Args:
        capacity: steps kept, of all environments together.
        batch_size: B, steps of a sample: a multiple of ``slice_length``.
        slice_length: T ≥ 1, steps.
        gamma: γ in ``[0, 1]``, per step.
        num_envs: number of environments, numbered ``0 … num_envs − 1`` under "env".
        across_episodes: whether a slice may continue past the end of an episode.
        priorities: how often each slice is drawn; None draws uniformly.
        device: where rows are stored and samples arrive.
        seed: of the generator that draws slices.

    Raises:
        ValueError: an argument is out of range.
    """

    observations_per_row = 2
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
        priorities: Priorities | None = None,
        device: torch.device | str = "cpu",
        seed: int = 0,
    ) -> None:
        super().__init__(
            capacity, batch_size, gamma=gamma, num_envs=num_envs, priorities=priorities, device=device, seed=seed
        )
        if slice_length < 1:
            raise ValueError(f"expected slice_length of at least 1, got {slice_length}; 1 is the plain case")
        self.slice_length, self.across_episodes = slice_length, across_episodes
        self._check_multiple(batch_size)
        self._draw_shape = (-1, slice_length)
        self._length = capacity // num_envs  # rows of each environment: those of e start at e · length
        if self._length < slice_length:
            raise ValueError(
                f"expected a capacity of at least num_envs · slice_length = {num_envs * slice_length}, got {capacity}; "
                "raise it: every environment keeps capacity // num_envs steps"
            )
        self._storage = TensorStorage(self._length * num_envs, device, is_paged=True)
        self._cursor = np.zeros(num_envs, np.int64)  # the row of each environment that is written next
        self._size = np.zeros(num_envs, np.int64)
        self._open = np.zeros(num_envs, np.int64)  # steps so far of the current episode
        self._age = np.zeros(self._length * num_envs, np.int64)  # steps of its episode up to and including each row
        if priorities is not None:
            priorities.allocate(self._num_rows)  # a slice has the number of its first row

    def __len__(self) -> int:
        return int(self._size.sum())

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
        leaves = self._storage.gather(index.view(-1)).rows
        leaves = {key: leaf.view(*index.shape, *leaf.shape[1:]) for key, leaf in leaves.items()}
        return TensorDict(leaves | {INDEX: index} | more, batch_size=index.shape, names=TIME_LAST)

    @property
    def _num_rows(self) -> int:
        return self._length * self.num_envs

    def _draw(self, batch_size: int) -> tuple[Tensor, Rows]:
        self._check_multiple(batch_size)
        count = batch_size // self.slice_length
        if self.priorities is None:
            return self._slices(self._draw_uniformly(count)), {}
        self._num_fitting()
        try:
            first, weight = self.priorities.draw(count, self.generator)
        except RuntimeError:
            if not self._holds_slice(self._filled()).any():
                raise self._only_shorter_episodes() from None
            raise
        index = self._slices(first)
        return index, {WEIGHT: weight.to(self.device)[:, None, None].expand(*index.shape, 1)}

    def _settings(self) -> Settings:
        settings = super()._settings()
        if self.priorities is None:
            return settings
        return settings | {"slice_length": self.slice_length, "across_episodes": self.across_episodes}

    def _not_overwritten(self, row: np.ndarray, error: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        kept = self._holds_slice(row)
        return row[kept], error[kept]

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
        }

    def _load_layout(self, state: Mapping[str, Any]) -> None:
        self._cursor, self._size, self._open = (
            state[name].numpy(force=True).copy() for name in ("cursor", "size", "open")
        )
        filled = self._filled()
        self._age[filled] = state["age"].numpy(force=True)
        self._storage.restore(torch.from_numpy(filled).to(self.device), state["rows"])

    def _append(self, env: np.ndarray, ended: np.ndarray, rows: Rows) -> None:
        """Write one row for each of the environments ``env`` ``[k]``, all different."""
        row = env * self._length + self._cursor[env]
        self._storage.write(torch.from_numpy(row).to(self.device), rows)
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
        first = self._nth_first(self._integers(fitting, count if self.across_episodes else 4 * count))
        if self.across_episodes:
            return first
        # Of four times as many as needed, enough are usually whole; a list of all would be as long as the buffer.
        # Both ways draw uniformly.
        first = first[self._is_whole(first)][:count]
        if len(first) == count:
            return first
        every = self._nth_first(np.arange(fitting))
        whole = every[self._is_whole(every)]
        if not len(whole):
            raise self._only_shorter_episodes()
        return np.concatenate([first, whole[self._integers(len(whole), count - len(first))]])

    def _num_fitting(self) -> int:
        """Number of slices that fit into the steps stored, at least one."""
        fitting = int(self._num_starts().sum())
        if not fitting:
            raise RuntimeError(
                f"no environment has the {self.slice_length} steps of a slice yet, at most {self._size.max()}; "
                "call extend first, or use a smaller slice_length"
            )
        return fitting

    def _only_shorter_episodes(self) -> OnlyShorterEpisodes:
        return OnlyShorterEpisodes(
            f"no episode has the {self.slice_length} steps of a slice; use a smaller replay.slice_length, or set "
            "replay.across_episodes=true"
        )

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
        fits = age + self.slice_length <= self._size[env]
        return fits if self.across_episodes else fits & self._is_whole(first)

    def _is_whole(self, first: np.ndarray) -> np.ndarray:
        """Whether the slices lie within one episode: by their last step it has at least T steps."""
        return self._age[self._moved(first, self.slice_length - 1)] >= self.slice_length

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
