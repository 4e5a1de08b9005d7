"""Where rows are kept: preallocated tensors addressed by row number, in memory, in a mapped file, or on a device."""

import contextlib
import math
import mmap
import os
import tempfile
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from qframe.errors import RunError
from qframe.keys import NestedKey
from qframe.replay.pages import PageMarks, Pages, live_pages, restore_pages
from qframe.replay.rows import Rows

PACKED_BYTES = 1024
"""Bytes of the widest entry that is packed with the others of its row; wider ones are read well on their own."""
ALIGNMENT = 8
"""Bytes that a packed row is padded to a multiple of; no dtype is wider."""

Place = Literal["memory", "disk"]
_FRAMES = "frames"


class NoRoom(RunError):
    """The disk has no room for the replay's frames."""


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
            self._marks.mark_rows(index.numpy(force=True))
        for key, leaf in rows.items():
            self.leaves[key].index_copy_(0, index, leaf)

    def write_span(self, start: int, stop: int, rows: Rows) -> None:
        """Put ``rows`` at row numbers ``start … stop − 1``."""
        self._allocate(rows)
        self._marks.mark_span(start, stop)
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
            restore_pages(rows, self._marks, self.leaves)

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


class FrameStorage:
    """Frames by row number; the first write allocates them, in its shape and dtype.

    Args:
        capacity: number of rows.
        place: ``memory``, of the device, or ``disk``: a file without a name that the system maps into memory and
            takes back when the process ends. Its pages are the system's cache, not the process's own memory.
        device: where ``memory`` is; a file is read on the CPU.
        folder: of the file; None is the system's folder for temporary files.

    Raises:
        ValueError: another place, or a file for frames on a device.
    """

    def __init__(
        self, capacity: int, place: Place = "memory", device: torch.device | str = "cpu", folder: Path | None = None
    ) -> None:
        self.capacity, self.place, self.device = capacity, place, torch.device(device)
        if place not in ("memory", "disk"):
            raise ValueError(f"expected storage to be memory or disk, got {place!r}")
        if place == "disk" and self.device.type != "cpu":
            raise ValueError(f"expected storage=memory for a replay on {device}, got disk; a file is read on the CPU")
        self._folder = folder
        self._frames: Tensor | None = None
        self._marks = PageMarks(0, 1)

    def write(self, index: Tensor, frames: Tensor) -> None:
        """Put ``frames`` ``[k, …]`` at row numbers ``index``, int64 ``[k]``, none twice."""
        if self._frames is None:
            self._frames = self._allocate(frames.shape[1:], frames.dtype)
        self._marks.mark_rows(index.numpy())
        self._frames.index_copy_(0, index.to(self.device), frames.to(self.device))

    def read(self, index: Tensor) -> Tensor:
        """A copy of the frames at row numbers ``index``, int64 ``[k]``."""
        if self._frames is None:
            raise RuntimeError("expected frames to read, got none; write some first")
        return self._frames.index_select(0, index.to(self.device))

    def pages(self) -> Pages:
        """All frames page by page, as they are when a page is read."""
        return live_pages(self._marks, {} if self._frames is None else {_FRAMES: self._frames})

    def restore(self, index: Tensor, frames: Tensor | Pages) -> None:
        """Take over the frames of row numbers ``index``, or an equal storage's pages."""
        if isinstance(frames, Tensor):
            self.write(index, frames)
        elif numbers := frames.numbers():
            first = frames.read(numbers[0])[_FRAMES]
            if self._frames is None:
                self._frames = self._allocate(first.shape[1:], first.dtype)
            restore_pages(frames, self._marks, {_FRAMES: self._frames})

    def _allocate(self, shape: torch.Size, dtype: torch.dtype) -> Tensor:
        self._marks = PageMarks(self.capacity, math.prod(shape) * dtype.itemsize)
        if self.place == "memory":
            return zeros((self.capacity, *shape), dtype, self.device)
        size = self.capacity * math.prod(shape) * dtype.itemsize
        with tempfile.TemporaryFile(dir=self._folder) as file:
            _reserve(file.fileno(), size)
            raw = np.memmap(file, dtype=np.uint8, mode="r+", shape=(size,))
        return torch.from_numpy(raw).view(dtype).view(self.capacity, *shape)


def zeros(shape: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    """Zeros; on the CPU in memory that is taken where something is written, in large pages: random reads are faster.

    Processes that are forked do not get it: every page that is written later would be there twice.
    """
    if device.type != "cpu" or not hasattr(mmap, "MADV_HUGEPAGE") or 0 in shape:
        return torch.zeros(shape, dtype=dtype, device=device)
    room = mmap.mmap(-1, max(1, math.prod(shape) * dtype.itemsize), flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    room.madvise(mmap.MADV_DONTFORK)
    with contextlib.suppress(OSError):  # a kernel without large pages
        room.madvise(mmap.MADV_HUGEPAGE)
    return torch.frombuffer(room, dtype=dtype, count=math.prod(shape)).view(shape)


def _reserve(file: int, size: int) -> None:
    """Take the room on disk now: a disk that fills later would end the process without a word."""
    try:
        os.posix_fallocate(file, 0, size)
    except OSError as error:
        raise NoRoom(
            f"expected {size / 1e9:.1f} GB of room on disk for the replay's frames, got {error.strerror}; lower "
            "replay.capacity, or let TMPDIR name another folder"
        ) from error


def _fits(leaf: Tensor) -> bool:
    return _row_bytes(leaf) <= PACKED_BYTES and leaf.dtype.itemsize <= ALIGNMENT


def _row_bytes(leaf: Tensor) -> int:
    return math.prod(leaf.shape[1:]) * leaf.dtype.itemsize
