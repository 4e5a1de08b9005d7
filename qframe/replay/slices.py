"""The replay buffer of trajectory slices."""

from collections.abc import Sequence
from typing import cast

import numpy as np
import torch
from tensordict import TensorDict
from torch import Tensor

from qframe.errors import RunError
from qframe.replay.memory import usable_device
from qframe.replay.n_step import check_gamma, distinct_runs, one_step
from qframe.replay.rows import DONE, ENV, TERMINATED, TRUNCATED, Rows, check_num_envs
from qframe.replay.storage import RowSchema, TensorStorage, chosen_streams, take_span
from qframe.replay.transitions import check_settings, check_sizes, joined

TIME_LAST = cast("Sequence[str]", (None, "time"))  # annotated without None by tensordict, which takes it


class OnlyShorterEpisodes(RunError, RuntimeError):
    """No episode that is kept holds a slice; the run's last checkpoint stays as it is."""


class SliceReplayBuffer:
    """The last steps of every environment, sampled as slices of T consecutive steps: for λ-returns and memory.

    See "Human-level control through deep reinforcement learning", Mnih et al., 2015, for replay, and "Reconciling
    λ-Returns with Experience Replay", Daley and Amato, 2019, for slices of it.

    A sample is ``[B / T, T]``, its time dimension named "time", with the keys that came, but "env", and
    ("next", "discount") ``γ · (1 − terminated)``, "steps_to_next_obs" (always 1) and "index" ``[B / T, T]``.

    Invariants:
        - A slice holds steps of one environment that were taken one after another, oldest first: it never spans
          the place where new steps overwrite old ones.
        - Every start from which a slice fits is equally likely, whichever environment it belongs to.
        - ``across_episodes=True``: episodes may end within a slice. "done" marks the ends; returns are cut there,
          and every step has its own next observation. ``False``: an episode's end is at a slice's last step or
          nowhere.
        - Each environment keeps its last ``capacity // num_envs`` steps.
        - A buffer that loads a state goes on bit for bit as the one that gave it.

    Args:
        capacity: steps kept, of all environments together.
        batch_size: B, steps of a sample: a multiple of ``slice_length``.
        slice_length: T ≥ 1, steps.
        gamma: γ in ``[0, 1]``, per step.
        num_envs: streams of steps, those of rows ``env`` in ``0 … num_envs − 1``.
        across_episodes: whether a slice may go on past the end of an episode.
        device: where rows are stored and samples come.
        seed: of the buffer's own generator.

    Raises:
        ValueError: an argument is out of its range.
    """

    draws_alike = True
    observations_per_row = 2
    """How many observations a row keeps whole: a step's own and the next."""
    bookkeeping_bytes = 4 + 8 + 8
    """What a row takes beside what came: the discount, the number of steps, and the step's place in its episode."""

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
    ) -> None:
        check_sizes(capacity, batch_size)
        check_gamma(gamma)
        _check_slices(capacity, batch_size, slice_length, num_envs)
        self.capacity, self.batch_size, self.slice_length = capacity, batch_size, slice_length
        self.gamma, self.num_envs, self.across_episodes = gamma, num_envs, across_episodes
        self.device = usable_device(device)
        self._length = capacity // num_envs  # rows per environment: those of e start at e · length
        self._schema = RowSchema(num_envs, device)
        self._storage = TensorStorage(self._length * num_envs, device, is_paged=True)
        self.generator = torch.Generator().manual_seed(seed)
        self._cursor = np.zeros(num_envs, np.int64)  # the row of each environment that is written next
        self._size = np.zeros(num_envs, np.int64)
        self._open = np.zeros(num_envs, np.int64)  # steps so far of the episode under way
        self._age = np.zeros(self._length * num_envs, np.int64)  # steps of its episode up to and with each row

    def __len__(self) -> int:
        """Steps stored."""
        return int(self._size.sum())

    @torch.no_grad()
    def extend(self, transitions: TensorDict) -> None:
        """Store steps.

        Args:
            transitions: steps ``[k]``, those of one environment in time order, with int64 "env" ``[k]`` and, under
                "next", float "reward" and bool "terminated", "truncated", "done" (either of them) ``[k, 1]``.

        Raises:
            KeyError: a key is missing or new, compared with the first rows.
            ValueError: a shape or a dtype is not that of the first rows; an "env" is out of its range.
        """
        rows = self._schema.check(transitions)
        env = rows[ENV].numpy(force=True)
        ended = (rows[TERMINATED] | rows[TRUNCATED]).numpy(force=True)[:, 0]
        rows = one_step(rows, self.gamma)
        for start, stop in distinct_runs(env):
            self._append(env[start:stop], ended[start:stop], take_span(rows, start, stop))

    def flush(self, env: int | None = None) -> None:
        """Mark the last step of one or all environments as truncated, unless its episode ended there.

        For environments that are abandoned amid an episode: what comes next for them is another episode.
        """
        envs = chosen_streams(env, self.num_envs)
        envs = envs[self._open[envs] > 0]
        if not len(envs):
            return
        last = envs * self._length + (self._cursor[envs] - 1) % self._length
        cut = torch.ones(len(envs), 1, dtype=torch.bool, device=self.device)
        self._storage.write(torch.from_numpy(last).to(self.device), {TRUNCATED: cut, DONE: cut})
        self._open[envs] = 0

    def sample(self, batch_size: int | None = None, *, batches: int = 1) -> TensorDict:
        """Slices ``[batches · B / T, T]``, drawn with replacement.

        Args:
            batch_size: B in steps, in place of the buffer's own.
            batches: one after another, the same that as many calls would draw.

        Raises:
            RuntimeError: no slice of T steps is stored yet.
            ValueError: ``batch_size`` is not a multiple of T.
        """
        batch_size = self.batch_size if batch_size is None else batch_size
        _check_multiple(batch_size, self.slice_length)
        rows, more = joined([self._draw_slices(batch_size // self.slice_length) for _ in range(batches)])
        index = rows.flatten().to(self.device)
        leaves = self._storage.gather(index).rows | {"index": index}
        leaves = {key: leaf.view(*rows.shape, *leaf.shape[1:]) for key, leaf in leaves.items()}
        return TensorDict(leaves | more, batch_size=rows.shape, names=TIME_LAST)

    def update_priority(self, index: Tensor, td_error: Tensor) -> None:
        """Nothing: all slices are drawn alike. It is here so that a learner need not ask."""

    def anneal(self, fraction: float) -> None:
        """Nothing: no hyperparameter changes during a run. It is here so that a learner need not ask."""

    def state_dict(self, *, live: bool = False) -> dict:
        """The rows and all else that makes what comes next, as tensors and plain values.

        Args:
            live: rows come as pages that are read when they are written to a checkpoint, and are not copied here.
        """
        filled = self._filled()
        index = torch.from_numpy(filled).to(self.device)
        return {
            "settings": self._settings(),
            "schema": self._schema.state_dict(),
            "rows": self._storage.pages() if live else self._storage.read(index),
            "age": torch.from_numpy(self._age[filled]),
            "cursor": torch.tensor(self._cursor),
            "size": torch.tensor(self._size),
            "open": torch.tensor(self._open),
            "generator": self.generator.get_state(),
        }

    def load_state_dict(self, state: dict) -> None:
        """Take over what ``state_dict`` gave.

        Raises:
            ValueError: the state comes from a buffer of other settings.
        """
        check_settings(self._settings(), state["settings"])
        self._schema.load_state_dict(state["schema"])
        self._cursor, self._size, self._open = (
            state[name].numpy(force=True).copy() for name in ("cursor", "size", "open")
        )
        filled = self._filled()
        self._age[filled] = state["age"].numpy(force=True)
        self._storage.restore(torch.from_numpy(filled).to(self.device), state["rows"])
        self.generator.set_state(state["generator"].cpu())

    def _settings(self) -> dict[str, float | None]:
        return {"capacity": self.capacity, "gamma": self.gamma, "num_envs": self.num_envs}

    def _append(self, env: np.ndarray, ended: np.ndarray, rows: Rows) -> None:
        """One row of each of the environments ``env`` ``[k]``, all different."""
        at = env * self._length + self._cursor[env]
        self._storage.write(torch.from_numpy(at).to(self.device), rows)
        self._age[at] = self._open[env] + 1
        self._open[env] = np.where(ended, 0, self._age[at])
        self._cursor[env] = (self._cursor[env] + 1) % self._length
        self._size[env] = np.minimum(self._size[env] + 1, self._length)

    def _draw_slices(self, count: int) -> tuple[Tensor, Rows]:
        """Row numbers ``[k, T]`` of slices, and what a sample says of them, ``[k, T, …]``."""
        return torch.from_numpy(self._rows(self._draw(count))), {}

    def _draw(self, count: int) -> np.ndarray:
        """Numbers of ``count`` starts, all allowed ones equally likely."""
        fitting = self._fitting()
        if self.across_episodes:
            return self._integers(fitting, count)
        # A few draws too many mostly leave enough; the list of all is as long as the buffer. Both draw uniformly.
        drawn = self._integers(fitting, 4 * count)
        drawn = drawn[self._is_whole(drawn)][:count]
        if len(drawn) == count:
            return drawn
        whole = self._is_whole(np.arange(fitting)).nonzero()[0]
        if not len(whole):
            raise self._only_shorter_episodes()
        return np.concatenate([drawn, whole[self._integers(len(whole), count - len(drawn))]])

    def _fitting(self) -> int:
        """How many slices fit into the steps stored; at least one."""
        fitting = int(self._starts().sum())
        if not fitting:
            raise RuntimeError(
                f"expected a slice of {self.slice_length} steps to sample, got at most {self._size.max()} steps of "
                "one environment; extend first, or take a smaller slice_length"
            )
        return fitting

    def _only_shorter_episodes(self) -> OnlyShorterEpisodes:
        return OnlyShorterEpisodes(
            f"expected {self.slice_length} steps of one episode to sample, got only shorter episodes; set "
            "replay.slice_length smaller, or replay.across_episodes=true"
        )

    def _starts(self) -> np.ndarray:
        """How many slices fit into each environment's steps, ``[E]``; their starts are numbered oldest first."""
        return np.maximum(self._size - self.slice_length + 1, 0)

    def _rows(self, start: np.ndarray, step: np.ndarray | None = None) -> np.ndarray:
        """Row numbers ``[k, T]`` of the slices with these start numbers ``[k]``, or those of some steps of them."""
        ends = self._starts().cumsum()  # [E]
        env = ends.searchsorted(start, side="right")  # [k]
        age = start - (ends - self._starts())[env]  # from the oldest step of the environment
        step = np.arange(self.slice_length) if step is None else step
        oldest = self._cursor[env] - self._size[env]
        return env[:, None] * self._length + ((oldest + age)[:, None] + step) % self._length

    def _is_whole(self, start: np.ndarray) -> np.ndarray:
        """Whether the slices lie in one episode: at its last step, T steps of the episode have been taken."""
        last = self._rows(start, np.array([self.slice_length - 1]))[:, 0]
        return self._age[last] >= self.slice_length

    def _integers(self, high: int, count: int) -> np.ndarray:
        return torch.randint(high, (count,), generator=self.generator).numpy()

    def _filled(self) -> np.ndarray:
        """Numbers of the rows that are filled, environment by environment: each fills from its first row on."""
        return (np.arange(self._length) < self._size[:, None]).reshape(-1).nonzero()[0]


def _check_slices(capacity: int, batch_size: int, slice_length: int, num_envs: int) -> None:
    check_num_envs(num_envs)
    if slice_length < 1:
        raise ValueError(f"expected slice_length of at least 1, got {slice_length}; 1 is the plain case")
    _check_multiple(batch_size, slice_length)
    if capacity // num_envs < slice_length:
        raise ValueError(
            f"expected a capacity of at least num_envs · slice_length = {num_envs * slice_length}, got {capacity}; "
            "raise it: every environment keeps capacity // num_envs steps"
        )


def _check_multiple(batch_size: int, slice_length: int) -> None:
    if batch_size < 1 or batch_size % slice_length:
        raise ValueError(
            f"expected a batch_size in steps, a multiple of slice_length = {slice_length}, got {batch_size}; "
            f"take {max(round(batch_size / slice_length), 1) * slice_length}"
        )
