"""The two interfaces of replay: a layout of stored steps, and priorities, an optional part of any layout."""

from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Any, Protocol

import numpy as np
import torch
from tensordict import TensorDict
from torch import Tensor

from qframe.replay.rows import Rows

Settings = dict[str, float | str | None]


class Priorities(Protocol):
    """How often each row is drawn, and the importance weight that corrects for it.

    A layout calls ``allocate`` once, ``add`` and ``remove`` as rows come and go, ``draw`` for every sample and
    ``update`` with every |δ|. A config names a class of your own as ``_target_``; ``bytes_per_row`` is its memory per
    row.
    """

    bytes_per_row: int

    def allocate(self, num_rows: int) -> None:
        """Make room for rows ``0 … num_rows − 1``, none of which can be drawn yet.

        Raises:
            ValueError: the priorities belong to another replay already.
        """
        ...

    def add(self, row: np.ndarray) -> None:
        """Let new rows ``[k]`` be drawn."""
        ...

    def remove(self, row: np.ndarray) -> None:
        """Exclude rows ``[k]`` from further draws."""
        ...

    def draw(self, count: int, generator: torch.Generator) -> tuple[np.ndarray, Tensor]:
        """Rows ``[count]``, int64, and their importance weights ``[count]``, float32.

        Raises:
            RuntimeError: no row can be drawn.
        """
        ...

    def update(self, row: np.ndarray, td_error: np.ndarray) -> None:
        """Set the priorities of rows ``[k]`` from |δ|, float64 ``[k]``, or ``[k, T]`` for slices of T steps.

        All errors are finite and at least 0, but NaN at the steps of a slice that were not learned from; at least one
        step of each was. If a row repeats, its last error counts.
        """
        ...

    def anneal(self, fraction: float) -> None:
        """Set hyperparameters that change over the run, ``fraction`` of which is over."""
        ...

    def settings(self) -> Settings:
        """The hyperparameters that must match to load a state."""
        ...

    def state_dict(self, row: np.ndarray) -> dict[str, Any]:
        """The priorities of rows ``[k]``, and everything else that future draws depend on."""
        ...

    def load_state_dict(self, state: dict[str, Any], row: np.ndarray) -> None:
        """Restore what ``state_dict`` returned for the same rows; no other row can be drawn."""
        ...


class Replay(Protocol):
    """Stored steps, from which a learner samples batches."""

    capacity: int
    batch_size: int
    device: torch.device
    """Where rows are stored and samples arrive."""
    generator: torch.Generator
    """The replay's own, on the CPU: equal seeds draw equal rows on every device."""
    priorities: Priorities | None
    """None: rows are drawn uniformly, so a draw does not depend on what was learned from earlier ones."""

    round: tuple[int, int] | None = None
    """Frames between two rounds of updates and updates in a round, if the replay fixes them."""

    def observation_bytes(self, size: int) -> int:
        """Bytes that a row takes for observations of ``size`` bytes, the next one included, to predict memory."""
        ...

    @property
    def bookkeeping_bytes(self) -> int:
        """Bytes of a row besides what ``extend`` was given, to predict memory."""
        ...

    @property
    def stored(self) -> Rows | None:
        """All rows ``[capacity, …]`` as ``draw`` numbers them; None if a sample is more than a copy of rows."""
        ...

    def __len__(self) -> int:
        """Number of transitions stored."""
        ...

    def extend(self, transitions: TensorDict) -> None:
        """Store steps.

        Args:
            transitions: steps ``[k]``, those of one environment in time order, with int64 "env" ``[k]`` and, under
                "next", float "reward" and bool "terminated", "truncated", "done" (either of them) ``[k, 1]``.

        Raises:
            KeyError: a key is missing or new, compared with the first rows.
            ValueError: a shape or a dtype differs from the first rows'; an "env" is out of range.
        """
        ...

    def flush(self, env: int | None = None) -> None:
        """Truncate the current episode of one environment, or of all, after its last step.

        For environments that are abandoned during an episode: their next step begins another one.
        """
        ...

    def draw(self, batch_size: int | None = None, *, batches: int = 1) -> tuple[Tensor, Rows]:
        """The rows of a sample, int64, and its entries that are not stored in rows; see ``sample``."""
        ...

    def sample(
        self, batch_size: int | None = None, *, batches: int = 1, reuse: TensorDict | None = None
    ) -> TensorDict:
        """Draw batches with replacement and read them.

        Args:
            batch_size: B in steps; None is the replay's own.
            batches: number of batches drawn at once; as many calls would draw the same.
            reuse: the previous sample with its entries unchanged, if it is no longer needed: a layout may overwrite and
                return it, which is several times as fast as a new batch.

        Raises:
            RuntimeError: nothing can be drawn yet, or no priority is above 0.
            ValueError: ``batch_size`` is not a multiple of the slices' length.
        """
        ...

    @property
    def unpredicted(self) -> TensorDict | None:
        """Rows for whose next observations it needs predictions now, in the order of ``write_prediction``."""
        return None

    def write_prediction(self, prediction: Tensor) -> None:
        """Serve these outputs for the next observations of the rows in ``unpredicted``, ``[rows, …]``."""

    def unchanged(self) -> AbstractContextManager[None]:
        """While active, draws leave no trace: afterwards the replay draws as if there had been none."""
        ...

    def update_priority(self, index: Tensor, td_error: Tensor) -> None:
        """Set the priorities of rows; without priorities, do nothing.

        If a row repeats, its last error counts. Rows that were overwritten since the draw are skipped.

        Args:
            index: "index" of a sample, int64 ``[B]``, or ``[B / T, T]`` for slices.
            td_error: |δ|, or another non-negative number that ranks rows, in units of the return: ``[B]`` or
                ``[B, 1]``, or ``[B / T, T]`` or ``[B / T, T, 1]`` for slices.

        Raises:
            IndexError: a row outside the replay.
            ValueError: an error is NaN, infinite or negative, or there is not one per row; nothing has changed.
        """
        ...

    def anneal(self, fraction: float) -> None:
        """Set hyperparameters that change over the run, ``fraction`` of which is over."""
        ...

    def state_dict(self, *, live: bool = False) -> dict[str, Any]:
        """Everything that future samples depend on, as tensors and plain values.

        Args:
            live: return rows as ``Pages``, which are read when a checkpoint writes them, instead of copies.
        """
        ...

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what ``state_dict`` returned; from then on, equal calls return equal bits.

        Raises:
            ValueError: the state comes from a replay with other settings.
        """
        ...
