"""The base of every layout: its settings, the generator that draws rows, and its priorities, if any."""

from abc import abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor

from qframe.replay.n_step import check_gamma
from qframe.replay.priorities import check_errors, starts_from_td_error
from qframe.replay.protocol import Priorities, Replay, Settings
from qframe.replay.rows import (
    ACTION_VALUE,
    DISCOUNT,
    NEXT_VALUE,
    REWARD,
    VALUES,
    WEIGHT,
    Rows,
    RowSchema,
    check_num_envs,
)


class ReplayBase(Replay):
    """A layout with optional priorities; :class:`Replay` documents the methods.

    Args:
        capacity: rows stored.
        batch_size: B, steps of a sample.
        gamma: γ in ``[0, 1]``, per step.
        num_envs: number of environments, numbered ``0 … num_envs − 1`` under "env".
        priorities: how often each row is drawn; None draws uniformly.
        device: where rows are stored and samples arrive.
        seed: of the generator that draws rows.

    Raises:
        ValueError: an argument is out of range.
    """

    layout_bytes: int
    """Bytes of a row besides what ``extend`` was given and its priority."""
    _draw_shape: tuple[int, ...] = (-1,)
    """Shape of a sample's rows, the first dimension being draws: ``[k]``, or ``[k, T]`` for slices."""
    _draws_row_by_row = False
    """Whether a uniform draw takes one random number per row, so that several batches are one larger draw."""
    _stores_transitions = True
    """Whether a row is one transition, which has one |δ|."""

    def __init__(
        self,
        capacity: int,
        batch_size: int,
        *,
        gamma: float,
        num_envs: int,
        priorities: Priorities | None,
        device: torch.device | str,
        seed: int,
    ) -> None:
        if batch_size < 1:
            raise ValueError(f"expected a batch_size of at least 1, got {batch_size}; 32 is common")
        if capacity < batch_size:
            raise ValueError(
                f"expected a capacity of at least batch_size = {batch_size}, got {capacity}; raise it or sample fewer"
            )
        check_gamma(gamma)
        check_num_envs(num_envs)
        self.capacity, self.batch_size, self.gamma, self.num_envs = capacity, batch_size, gamma, num_envs
        self.priorities = priorities
        self._starts_from_td_error = starts_from_td_error(priorities)
        if self._starts_from_td_error and not self._stores_transitions:
            raise ValueError(
                f"initial=td_error is for n-step transitions, and {type(self).__name__} stores steps of slices; use "
                "replay=transitions or replay=frames, or priorities.initial=largest"
            )
        self.device = usable_device(device)
        self.generator = torch.Generator().manual_seed(seed)
        self._schema = RowSchema(num_envs, device, VALUES if self._starts_from_td_error else frozenset())

    @property
    def bookkeeping_bytes(self) -> int:
        return self.layout_bytes + (0 if self.priorities is None else self.priorities.bytes_per_row)

    @property
    def stored(self) -> Rows | None:
        return None

    def draw(self, batch_size: int | None = None, *, batches: int = 1) -> tuple[Tensor, Rows]:
        size = self.batch_size if batch_size is None else batch_size
        if batches == 1 or (self.priorities is None and self._draws_row_by_row):
            return self._draw(batches * size)
        index, more = zip(*(self._draw(size) for _ in range(batches)), strict=True)
        return torch.cat(index), {key: torch.cat([rows[key] for rows in more]) for key in more[0]}

    @contextmanager
    def unchanged(self) -> Iterator[None]:
        """While active, draws leave no trace: afterwards the replay draws as if there had been none."""
        state = self.generator.get_state()
        try:
            yield
        finally:
            self.generator.set_state(state)

    def update_priority(self, index: Tensor, td_error: Tensor) -> None:
        if self.priorities is None:
            return
        row = index.numpy(force=True).reshape(self._draw_shape)  # [k] or [k, T]
        error = check_errors(td_error, row.size)
        last = self._num_rows - 1
        if len(row) and not 0 <= row.min() <= row.max() <= last:
            raise IndexError(f"expected rows in 0 … {last}, got {row.min()} … {row.max()}; pass 'index' of a sample")
        self.priorities.update(*self._not_overwritten(*self._by_draw(row, error)))

    def anneal(self, fraction: float) -> None:
        if self.priorities is not None:
            self.priorities.anneal(fraction)

    def state_dict(self, *, live: bool = False) -> dict[str, Any]:
        state = {
            "settings": self._settings(),
            "schema": self._schema.state_dict(),
            "generator": self.generator.get_state(),
            **self._layout_state(live=live),
        }
        return state if self.priorities is None else state | {"priorities": self.priorities.state_dict(self._filled())}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        own, saved = self._settings(), state["settings"]
        different = [
            f"{name} = {own.get(name)} here, {saved.get(name)} saved"
            for name in {**own, **saved}
            if own.get(name) != saved.get(name)
        ]
        if different:
            raise ValueError(f"the state comes from a replay with other settings: {'; '.join(different)}")
        self._schema.load_state_dict(state["schema"])
        self._load_layout(state)
        self.generator.set_state(state["generator"].cpu())
        if self.priorities is not None:
            self.priorities.load_state_dict(state["priorities"], self._filled())

    def _settings(self) -> Settings:
        """The settings that must match to load a state."""
        own: Settings = {"capacity": self.capacity, "gamma": self.gamma, "num_envs": self.num_envs}
        if self.priorities is None:
            return own | {"priorities": None}
        return own | {"priorities": type(self.priorities).__name__} | self.priorities.settings()

    def _by_draw(self, row: np.ndarray, error: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The row that is drawn, and the error or errors that make its priority, of a sample's rows and errors."""
        return row, error

    def _not_overwritten(self, row: np.ndarray, error: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The rows that have not been overwritten since they were drawn, and their errors."""
        return row, error

    def _update_new(self, row: np.ndarray, transitions: Rows) -> None:
        """Set the priorities of new rows ``[k]`` from the |δ| of the network that acted, where it is finite."""
        assert self.priorities is not None
        discount = transitions[DISCOUNT]
        following = torch.where(discount == 0, 0.0, discount * transitions[NEXT_VALUE])
        error = (transitions[REWARD] + following - transitions[ACTION_VALUE]).abs()[:, 0].double().numpy(force=True)
        is_sound = np.isfinite(error)
        self.priorities.update(row[is_sound], error[is_sound])

    def _draw(self, batch_size: int) -> tuple[Tensor, Rows]:
        """The rows of one batch on the replay's device, ``[B]``, or ``[B / T, T]`` for slices; and their weights."""
        if not len(self):
            raise RuntimeError("the replay holds no complete transition yet; call extend before sample")
        if self.priorities is None:
            return torch.from_numpy(self._draw_uniformly(batch_size)).to(self.device), {}
        row, weight = self.priorities.draw(batch_size, self.generator)
        return torch.from_numpy(row).to(self.device), {WEIGHT: weight.unsqueeze(-1).to(self.device)}

    def _integers(self, high: int, count: int) -> np.ndarray:
        """Random integers ``[count]`` below ``high``."""
        return torch.randint(high, (count,), generator=self.generator).numpy()

    @abstractmethod
    def _draw_uniformly(self, count: int) -> np.ndarray:
        """Rows ``[count]``, or the first rows of slices, drawn uniformly with replacement."""

    @property
    @abstractmethod
    def _num_rows(self) -> int:
        """Number of rows that an index can address."""

    @abstractmethod
    def _filled(self) -> np.ndarray:
        """The filled rows, int64 ``[m]``."""

    @abstractmethod
    def _layout_state(self, *, live: bool) -> dict[str, Any]:
        """The rows and their positions."""

    @abstractmethod
    def _load_layout(self, state: Mapping[str, Any]) -> None:
        """Restore what ``_layout_state`` returned."""


def usable_device(device: torch.device | str) -> torch.device:
    """The device with this name.

    Raises:
        ValueError: this machine has no such device.
    """
    try:
        found = torch.device(device)
    except RuntimeError as error:
        raise ValueError(f"expected a device such as cpu or cuda, got '{device}'") from error
    if found.type == "cuda" and (found.index or 0) >= torch.cuda.device_count():
        raise ValueError(f"this machine has no device '{device}'; use cpu")
    return found
