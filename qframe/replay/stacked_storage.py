"""Storage of steps whose observations are stacks of frames: a row keeps the newest frame, a quarter of four."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from qframe.errors import RunError
from qframe.keys import NestedKey
from qframe.replay.rows import DONE, OBSERVATION, Rows
from qframe.replay.storage import Gathered, TensorStorage


class NotStacked(RunError):
    """Observations are not stacks of frames that continue one another."""


class StackedStorage(TensorStorage):
    """Rows in rings, one per environment, of which "observation" is ``stack`` frames along its first dimension.

    A row stores its newest frame; the earlier ones are the newest frames of the rows before it. Where they are not (the
    first steps of an episode, a ring's oldest row) they are kept apart, so what is read is what was written.

    Args:
        num_envs: number of rings.
        length: rows of each ring.
        stack: k ≥ 2, frames in an observation.
        device: where the tensors live.
    """

    def __init__(self, num_envs: int, length: int, stack: int, device: torch.device | str) -> None:
        super().__init__(num_envs * length, device, is_paged=True)
        self.length, self.stack = length, stack
        self._is_written = np.zeros(num_envs * length, np.bool_)
        self._is_apart = np.zeros(num_envs * length, np.bool_)
        self._apart: dict[int, Tensor] = {}  # the earlier frames of these rows, [k − 1, …]

    def write(self, index: Tensor, rows: Rows) -> None:
        """Write ``rows`` to row numbers ``index``, int64 ``[n]``, of different environments.

        Raises:
            NotStacked: "observation" is no stack of k frames, or does not continue the step before it.
        """
        if OBSERVATION not in rows:
            super().write(index, rows)
            return
        observation, row = rows[OBSERVATION], index.numpy(force=True)
        if observation.shape[1:2] != (self.stack,):
            raise NotStacked(
                f"expected observations of {self.stack} frames along their first dimension, got shape "
                f"{[*observation.shape[1:]]}; set replay.stack"
            )
        continues = self._continues(row, rows)
        oldest = self._moved(row, 1)  # once these rows are overwritten
        self._keep(oldest[self._is_written[oldest] & ~self._is_apart[oldest]])
        super().write(index, rows | {OBSERVATION: observation[:, -1]})
        self._is_written[row] = True
        for number in row[self._is_apart[row]].tolist():
            del self._apart[number]
        self._is_apart[row] = ~continues
        for place in (~continues).nonzero()[0].tolist():
            self._apart[int(row[place])] = observation[place, :-1].to(self.device, copy=True)

    def gather(self, index: Tensor, into: Gathered | None = None) -> Gathered:
        found = super().gather(index, into)
        found.rows[OBSERVATION] = self.column(OBSERVATION, index)
        return found

    def column(self, key: NestedKey, index: Tensor) -> Tensor:
        if key != OBSERVATION:
            return super().column(key, index)
        row = index.numpy(force=True).reshape(-1)
        ahead = self._moved(row[:, None], np.arange(1 - self.stack, 1))  # [n, k]
        frames = super().column(key, torch.from_numpy(ahead).to(self.device))
        found = frames.view(*ahead.shape, *frames.shape[1:])
        back = self._is_apart[ahead[:, :0:-1]]  # [n, k − 1], the newest row first
        for place in np.flatnonzero(back.any(1)).tolist():
            since = int(back[place].argmax())  # rows since the one whose earlier frames are kept apart
            found[place, : self.stack - 1 - since] = self._apart[int(self._moved(row[place], -since))][since:]
        return found

    def apart(self) -> dict[str, Tensor]:
        """The rows whose earlier frames are kept apart, and these frames; the rest of the state is in the rows."""
        rows = sorted(self._apart)
        frames = torch.stack([self._apart[row] for row in rows]) if rows else torch.empty(0)
        return {"row": torch.tensor(rows, dtype=torch.int64), "frames": frames}

    def load_apart(self, state: Mapping[str, Any], filled: np.ndarray) -> None:
        """Restore what ``apart`` returned, for a storage with these filled rows."""
        self._is_written[:] = self._is_apart[:] = False
        self._is_written[filled] = True
        self._is_apart[state["row"].numpy(force=True)] = True
        pairs = zip(state["row"].tolist(), state["frames"], strict=True)
        self._apart = {row: frames.to(self.device, copy=True) for row, frames in pairs}

    def _continues(self, row: np.ndarray, rows: Rows) -> np.ndarray:
        """Whether each observation's earlier frames are those of the row before it."""
        before = self._moved(row, -1)
        known = self._is_written[before]
        if not known.any():
            return known
        index, observation = torch.from_numpy(before).to(self.device), rows[OBSERVATION]
        same = (self.column(OBSERVATION, index)[:, 1:] == observation[:, :-1].to(self.device)).flatten(1).all(-1)
        continues: np.ndarray = known & same.numpy(force=True)
        begins = self.column(DONE, index)[:, 0].numpy(force=True)
        if (known & ~continues & ~begins & ~rows[DONE][:, 0].numpy(force=True)).any():
            raise NotStacked(
                f"an observation is not the one before it shifted by a new frame (stack = {self.stack}); set "
                "replay.stack=1, which stores whole observations"
            )
        return continues

    def _keep(self, row: np.ndarray) -> None:
        """Keep the earlier frames of rows apart, as the row before them is about to be overwritten."""
        if not len(row):
            return
        frames = self.column(OBSERVATION, torch.from_numpy(row).to(self.device))[:, :-1]
        self._is_apart[row] = True
        for number, earlier in zip(row.tolist(), frames, strict=True):
            self._apart[number] = earlier.clone()

    def _moved(self, row: np.ndarray, steps: np.ndarray | int) -> np.ndarray:
        """The rows ``steps`` later, within the same environment's rows."""
        place = row % self.length
        return row - place + (place + steps) % self.length
