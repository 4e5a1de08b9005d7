"""Large observations stored once: the next observation of a step is the observation of the step after it."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from qframe.keys import NestedKey
from qframe.replay.rows import Rows
from qframe.replay.storage import PACKED_BYTES, TensorStorage


class NextObservations:
    """The next observations of rows in rings, one ring per environment.

    It takes over the entries under "next" whose twin without "next" is stored in the rows anyway, if they are large.
    Those of an episode's last step, of each environment's newest one, and wherever the next row holds another
    observation, are kept apart; all others are read from the row that follows.

    Args:
        num_envs: number of rings.
        length: rows of each ring.
        device: of the entries.
    """

    def __init__(self, num_envs: int, length: int, device: torch.device | str) -> None:
        self._length, self._device = length, torch.device(device)
        self._newest = TensorStorage(num_envs, device)  # of each environment's newest step
        self._newest_row = np.full(num_envs, -1)
        self._is_apart = np.zeros(num_envs * length, np.bool_)
        self._apart: dict[int, Rows] = {}  # the entries of these rows
        self._twins: dict[NestedKey, NestedKey] = {}

    def take(self, rows: Rows) -> Rows:
        """The entries that are to be stored in the rows; the others are this object's."""
        if self._newest_row.max() < 0:
            self._twins = _large_twins(rows)
        return {key: leaf for key, leaf in rows.items() if key not in self._twins} if self._twins else rows

    def append(self, env: np.ndarray, row: np.ndarray, ended: np.ndarray, rows: Rows) -> None:
        """Note the next observations of new rows ``row`` ``[k]``, one of each environment ``env`` ``[k]``."""
        if not self._twins:
            return
        own = {key: rows[key] for key in self._twins}
        seen = (self._newest_row[env] >= 0).nonzero()[0]
        if len(seen):
            before, place = self._newest.read(self._index(env[seen])), self._index(seen)
            differs = [(before[key] != rows[twin][place]).flatten(1).any(-1) for key, twin in self._twins.items()]
            self._keep(env[seen[torch.stack(differs).any(0).numpy(force=True)]])
        self._newest.write(self._index(env), own)
        self._newest_row[env] = row
        for number in row[self._is_apart[row]].tolist():
            del self._apart[number]
        self._is_apart[row] = False
        self._keep(env[ended])

    def _keep(self, env: np.ndarray) -> None:
        """Keep the next observations of the newest steps of these environments apart."""
        env = env[~self._is_apart[self._newest_row[env]]]
        if not len(env):
            return
        own = self._newest.read(self._index(env))
        self._is_apart[self._newest_row[env]] = True
        for place, row in enumerate(self._newest_row[env].tolist()):
            self._apart[row] = {key: leaf[place].clone() for key, leaf in own.items()}

    def read(self, row: np.ndarray, storage: TensorStorage) -> Rows:
        """The next observations of rows ``[k]``.

        Args:
            row: numbers of filled rows.
            storage: of the observations.
        """
        if not self._twins:
            return {}
        env, place = np.divmod(row, self._length)
        following = env * self._length + (place + 1) % self._length
        newest = (row == self._newest_row[env]) & ~self._is_apart[row]
        found = {key: storage.column(twin, self._index(following)) for key, twin in self._twins.items()}
        if newest.any():
            kept = self._newest.read(self._index(env[newest]))
            for key, leaf in found.items():
                leaf[self._index(newest.nonzero()[0])] = kept[key]
        for number in self._is_apart[row].nonzero()[0].tolist():
            for key, leaf in found.items():
                leaf[number] = self._apart[int(row[number])][key]
        return found

    def state_dict(self) -> dict[str, Any] | None:
        """The entries that are kept apart; None if there are none."""
        if not self._twins:
            return None
        envs, rows = (self._newest_row >= 0).nonzero()[0], sorted(self._apart)
        apart = {key: torch.stack([self._apart[row][key] for row in rows]) for key in self._twins} if rows else {}
        return {
            "twins": dict(self._twins),
            "newest": self._newest.read(self._index(envs)),
            "newest_row": torch.from_numpy(self._newest_row.copy()),
            "apart": apart,
            "apart_row": torch.tensor(rows, dtype=torch.int64),
        }

    def load_state_dict(self, state: Mapping[str, Any] | None) -> None:
        """Restore what ``state_dict`` returned."""
        self._apart, self._twins = {}, {} if state is None else dict(state["twins"])
        self._is_apart[:], self._newest_row[:] = False, -1
        if state is None:
            return
        self._newest_row = state["newest_row"].numpy(force=True).copy()
        self._newest.restore(self._index((self._newest_row >= 0).nonzero()[0]), state["newest"])
        for place, row in enumerate(state["apart_row"].tolist()):
            self._is_apart[row] = True
            self._apart[row] = {key: leaf[place].to(self._device) for key, leaf in state["apart"].items()}

    def _index(self, row: np.ndarray) -> Tensor:
        return torch.from_numpy(row).to(self._device)


def _large_twins(rows: Rows) -> dict[NestedKey, NestedKey]:
    """The large entries under "next" that have a twin of the same shape and dtype without it, and that twin."""
    twins: dict[NestedKey, NestedKey] = {}
    for key, leaf in rows.items():
        if key[0] != "next" or is_small(leaf[:1].nbytes):
            continue
        twin = key[1] if len(key) == 2 else tuple(key[1:])
        if twin in rows and (rows[twin].shape, rows[twin].dtype) == (leaf.shape, leaf.dtype):
            twins[key] = twin
    return twins


def is_small(size: int) -> bool:
    """Whether an entry of so many bytes is read faster as a part of its row than from the next one."""
    return size <= PACKED_BYTES
