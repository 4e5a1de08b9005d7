"""Where rows are kept: preallocated tensors addressed by row number, and the check that all rows look alike.

Rows are a flat dictionary from (nested) key to a tensor ``[k, …]``: the inner loop never builds a tensordict but
the one it returns.
"""

import math
from collections.abc import Iterable
from typing import NamedTuple, cast

import numpy as np
import torch
from tensordict import TensorDict
from torch import Tensor

from qframe.keys import NestedKey
from qframe.replay.memory import zeros
from qframe.replay.pages import Pages
from qframe.replay.rows import ENV, REWARD, Rows, check_first, raise_key_error, raise_unlike

PAGE_BYTES = 4 * 2**20
MOST_BYTES = 1024
"""Of a column's row: wider ones are read well on their own."""
ALIGNMENT = 8
"""Bytes that a row is padded to; no entry is larger."""


class PageMarks:
    """Which write changed each page of rows last, so that a checkpoint can tell what has changed.

    Args:
        capacity: number of rows.
        row_bytes: of a row; a page has about 4 MiB.
    """

    def __init__(self, capacity: int, row_bytes: int) -> None:
        self.rows_per_page = max(1, PAGE_BYTES // max(1, row_bytes))
        self.written = np.zeros(-(-capacity // self.rows_per_page), np.int64)
        self.clock = 0

    def span(self, start: int, stop: int) -> None:
        """Rows ``start … stop − 1`` are written."""
        self.clock += 1
        self.written[start // self.rows_per_page : (stop - 1) // self.rows_per_page + 1] = self.clock

    def rows(self, index: np.ndarray) -> None:
        """These rows are written."""
        self.clock += 1
        self.written[index // self.rows_per_page] = self.clock


class _Column(NamedTuple):
    dtype: torch.dtype
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    """In entries, the rows' first."""
    offset: int
    """In entries, from a row's first byte."""


class Packing:
    """Where each column of a row lies among its bytes.

    Args:
        like: rows ``[k, …]`` of any number, by key.

    >>> packing = Packing({"a": torch.zeros(1, 2, dtype=torch.bool), "b": torch.zeros(1, dtype=torch.float64)})
    >>> packing.row_bytes, packing.views(torch.zeros(3, 16, dtype=torch.uint8))["a"].stride()
    (16, (16, 1))
    """

    def __init__(self, like: Rows) -> None:
        fitting = {key: leaf for key, leaf in like.items() if _fits(leaf)}
        widest_first = sorted(fitting, key=lambda key: -fitting[key].dtype.itemsize)  # so that each lies aligned
        places: dict[NestedKey, int] = {}
        end = 0
        for key in widest_first:
            places[key], end = end, end + _row_bytes(fitting[key])
        self.row_bytes = -(-max(1, end) // ALIGNMENT) * ALIGNMENT
        self._columns: dict[NestedKey, _Column] = {}
        for key, leaf in fitting.items():
            size, shape = leaf.dtype.itemsize, tuple(leaf.shape[1:])
            inner = tuple(math.prod(shape[axis + 1 :]) for axis in range(len(shape)))
            self._columns[key] = _Column(leaf.dtype, shape, (self.row_bytes // size, *inner), places[key] // size)

    def views(self, packed: Tensor) -> Rows:
        """The columns ``[k, …]`` of rows ``packed``, uint8 ``[k, row_bytes]``; they share its memory."""
        by_dtype: dict[torch.dtype, Tensor] = {}
        columns: Rows = {}
        for key, (dtype, shape, strides, offset) in self._columns.items():
            if dtype not in by_dtype:
                by_dtype[dtype] = packed.view(dtype)
            start = by_dtype[dtype].storage_offset() + offset
            columns[key] = by_dtype[dtype].as_strided((len(packed), *shape), strides, start)
        return columns


class Gathered(NamedTuple):
    """A copy of rows."""

    packed: Tensor
    """Their small entries, as they lie in the storage."""
    rows: Rows
    """All of them, by key."""


class TensorStorage:
    """Rows in preallocated tensors, in the dtypes that the first write brings; small entries of a row lie together.

    Args:
        capacity: number of rows.
        device: where the tensors live.
        is_paged: whether ``pages`` will be asked for.
    """

    def __init__(self, capacity: int, device: torch.device | str = "cpu", *, is_paged: bool = False) -> None:
        self.capacity = capacity
        self.device = torch.device(device)
        self.leaves: Rows = {}  # [capacity, …]; empty before the first write
        self._packing = Packing({})
        self._packed = torch.empty(0)  # uint8 [capacity, row bytes]: what the small leaves are views of
        self._wide: Rows = {}  # the other leaves
        self._is_paged = is_paged
        self._marks = PageMarks(0, 1)

    def write(self, index: Tensor, rows: Rows) -> None:
        """Put ``rows`` at row numbers ``index``, int64 ``[k]``, none twice; keys left out keep what they hold."""
        self._allocate(rows)
        if self._is_paged:
            self._marks.rows(index.numpy(force=True))
        for key, leaf in rows.items():
            self.leaves[key].index_copy_(0, index, leaf)

    def write_span(self, start: int, stop: int, rows: Rows) -> None:
        """Put ``rows`` at row numbers ``start … stop − 1``."""
        self._allocate(rows)
        self._marks.span(start, stop)
        for key, leaf in rows.items():
            self.leaves[key][start:stop] = leaf

    def read(self, index: Tensor) -> Rows:
        """A copy of the rows ``index``, int64 ``[k]`` on the storage's device, every key in memory of its own."""
        return {key: leaf.index_select(0, index) for key, leaf in self.leaves.items()}

    def gather(self, index: Tensor, into: Gathered | None = None) -> Gathered:
        """As ``read``, but faster: small entries of a row lie together in the copy as well.

        Args:
            index: int64 ``[k]`` on the storage's device.
            into: an earlier copy of k rows, which is written over.
        """
        if into is None:
            packed = self._packed.index_select(0, index)
            into = Gathered(packed, self._packing.views(packed))
            for key, leaf in self._wide.items():
                into.rows[key] = leaf.index_select(0, index)
        else:
            torch.index_select(self._packed, 0, index, out=into.packed)
            for key, leaf in self._wide.items():
                torch.index_select(leaf, 0, index, out=into.rows[key])
        return into

    def column(self, key: NestedKey, index: Tensor) -> Tensor:
        """What rows ``index`` of any shape hold under one key, ``[number of them, …]``."""
        return self.leaves[key].index_select(0, index.reshape(-1))

    def restore(self, index: Tensor, rows: Rows | Pages) -> None:
        """Forget everything, then take over rows ``index`` from any device, or the pages of an equal storage."""
        self.leaves = {}
        if isinstance(rows, dict):
            self.write(index, {key: leaf.to(self.device) for key, leaf in rows.items()})
        elif numbers := rows.numbers():
            self._allocate(rows.read(numbers[0]))
            take_over(rows, self._marks, self.leaves)

    def pages(self) -> Pages:
        """All rows page by page, as they are when a page is read."""
        return live_pages(self._marks, self.leaves)

    def _allocate(self, rows: Rows) -> None:
        if not self.leaves:
            self._packing = Packing(rows)
            self._packed = zeros((self.capacity, self._packing.row_bytes), torch.uint8, self.device)
            small = self._packing.views(self._packed)
            self._wide = {
                key: zeros((self.capacity, *leaf.shape[1:]), leaf.dtype, self.device)
                for key, leaf in rows.items()
                if key not in small
            }
            self.leaves = {key: small[key] if key in small else self._wide[key] for key in rows}
            row_bytes = sum(leaf.nbytes // max(1, len(leaf)) for leaf in self.leaves.values())
            self._marks = PageMarks(self.capacity, row_bytes)


class RowSchema:
    """What every row looks like: keys, shapes and dtypes, fixed by the first rows.

    Args:
        num_envs: number of streams, those of rows ``env`` in ``0 … num_envs − 1``.
        device: where checked rows are moved.
    """

    def __init__(self, num_envs: int, device: torch.device | str = "cpu") -> None:
        self._num_envs = num_envs
        self._device = torch.device(device)
        self._like: dict[NestedKey, tuple[torch.Size, torch.dtype]] = {}

    def check(self, transitions: TensorDict) -> Rows:
        """The leaves of ``transitions``, ``[k]``, on the schema's device.

        Raises:
            KeyError: a key is missing or new.
            ValueError: a shape or a dtype is not that of the first rows, the batch is not ``[k]``, or an "env" is
                out of its range.
        """
        if transitions.batch_dims != 1:
            raise ValueError(
                f"expected transitions of batch size [k], got {list(transitions.batch_size)}; flatten them in time "
                "order"
            )
        leaves = cast("Iterable[tuple[NestedKey, Tensor]]", transitions.items(True, True))
        rows = {key: leaf.to(self._device) for key, leaf in leaves}
        if not self._like:
            check_first(rows)
        elif rows.keys() != self._like.keys():
            raise_key_error(missing=self._like.keys() - rows.keys(), new=rows.keys() - self._like.keys())
        else:
            self._check_like(rows)
        check_streams(rows[ENV].numpy(force=True), self._num_envs)
        if not self._like:
            self._like = {key: (leaf.shape[1:], leaf.dtype) for key, leaf in rows.items()}
        return rows

    def state_dict(self) -> Rows:
        """One empty tensor per key."""
        return {key: torch.empty((0, *shape), dtype=dtype) for key, (shape, dtype) in self._like.items()}

    def load_state_dict(self, state: Rows) -> None:
        """Take over what ``state_dict`` gave."""
        self._like = {key: (leaf.shape[1:], leaf.dtype) for key, leaf in state.items()}

    def _check_like(self, rows: Rows) -> None:
        for key, leaf in rows.items():
            if (leaf.shape[1:], leaf.dtype) != self._like[key]:
                shape, dtype = self._like[key]
                raise_unlike(key, f"[{', '.join(['k', *map(str, shape)])}] of {dtype}, as in the first rows", leaf)


def live_pages(marks: PageMarks, leaves: Rows) -> Pages:
    """The pages of tensors ``[capacity, …]``; reading one reads what it holds then."""
    size = marks.rows_per_page

    def read(page: int) -> Rows:
        return {key: leaf[page * size : (page + 1) * size].cpu().clone() for key, leaf in leaves.items()}

    return Pages(size, torch.tensor(marks.written), marks.clock, read)


def take_over(pages: Pages, marks: PageMarks, leaves: Rows) -> None:
    """Put every page into tensors ``[capacity, …]`` where it was."""
    marks.rows_per_page, marks.written, marks.clock = pages.rows_per_page, pages.written.numpy().copy(), pages.clock
    for page in pages.numbers():
        first = page * pages.rows_per_page
        for key, rows in pages.read(page).items():
            leaves[key][first : first + len(rows)] = rows.to(leaves[key].device)


def take_span(rows: Rows, start: int, stop: int) -> Rows:
    """Views of rows ``start … stop − 1``; all of them cost nothing."""
    if start == 0 and stop == len(rows[REWARD]):
        return rows
    return {key: leaf[start:stop] for key, leaf in rows.items()}


def check_streams(env: np.ndarray, num_envs: int) -> None:
    """Every stream is one of ``0 … num_envs − 1``.

    Raises:
        ValueError: one is not.
    """
    if len(env) and not 0 <= env.min() <= env.max() < num_envs:
        raise ValueError(
            f"expected 'env' in 0 … {num_envs - 1}, got {env.min()} … {env.max()}; "
            "build the replay with num_envs = the number of environments"
        )


def chosen_streams(env: int | None, num_envs: int) -> np.ndarray:
    """One stream, or all of them for None."""
    chosen = np.arange(num_envs) if env is None else np.array([env])
    check_streams(chosen, num_envs)
    return chosen


def _fits(leaf: Tensor) -> bool:
    return _row_bytes(leaf) <= MOST_BYTES and leaf.dtype.itemsize <= ALIGNMENT


def _row_bytes(leaf: Tensor) -> int:
    return math.prod(leaf.shape[1:]) * leaf.dtype.itemsize
