"""Storage of rows: preallocated tensors indexed by row number, in memory, in a mapped file, or on a device."""

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
"""Bytes of the widest entry that is packed with the others of its row; wider ones are fast to read separately."""
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
    """The place of each small entry among the bytes of a row.

    Args:
        like: rows ``[k, …]`` of any number, by key.

    >>> packing = Packing({"a": torch.zeros(1, 2, dtype=torch.bool), "b": torch.zeros(1, dtype=torch.float64)})
    >>> packing.row_bytes, packing.views(torch.zeros(3, 16, dtype=torch.uint8))["a"].stride()
    (16, (16, 1))
    """

    def __init__(self, like: Rows) -> None:
        fitting = {key: leaf for key, leaf in like.items() if _fits(leaf)}
        widest_first = sorted(fitting, key=lambda key: -fitting[key].dtype.itemsize)  # so that each is aligned
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
    """Their small entries, packed as in the storage."""
    rows: Rows
    """All entries, by key."""


class TensorStorage:
    """Rows in preallocated tensors, in the dtypes of the first write; the small entries of a row are packed together.

    Args:
        capacity: number of rows.
        device: where the tensors live.
        is_paged: whether writes mark their pages, which ``pages`` needs.
    """

    def __init__(self, capacity: int, device: torch.device | str = "cpu", *, is_paged: bool = False) -> None:
        self.capacity = capacity
        self.device = torch.device(device)
        self.leaves: Rows = {}  # [capacity, …]; empty before the first write
        self._packing = Packing({})
        self._packed = torch.empty(0)  # uint8 [capacity, row bytes], of which the small leaves are views
        self._wide: Rows = {}  # the other leaves
        self._is_paged = is_paged
        self._marks = PageMarks(0, 1)

    def write(self, index: Tensor, rows: Rows) -> None:
        """Write ``rows`` to row numbers ``index``, int64 ``[k]``, all different; other keys keep their values."""
        self._allocate(rows)
        if self._is_paged:
            self._marks.mark_rows(index.numpy(force=True))
        for key, leaf in rows.items():
            self.leaves[key].index_copy_(0, index, leaf)

    def write_span(self, start: int, stop: int, rows: Rows) -> None:
        """Write ``rows`` to row numbers ``start … stop − 1``."""
        self._allocate(rows)
        self._marks.mark_span(start, stop)
        spans: list[Tensor] = []
        for key in rows:
            spans.append(self.leaves[key][start:stop])
        torch._foreach_copy_(spans, list(rows.values()))  # pyright: ignore[reportPrivateImportUsage]

    def read(self, index: Tensor) -> Rows:
        """A copy of rows ``index``, int64 ``[k]`` on the storage's device, each key in its own memory."""
        return {key: leaf.index_select(0, index) for key, leaf in self.leaves.items()}

    def gather(self, index: Tensor, into: Gathered | None = None) -> Gathered:
        """Like ``read``, but faster: the small entries of a row stay packed in the copy.

        Args:
            index: int64 ``[k]`` on the storage's device.
            into: an earlier copy of k rows, which is overwritten.
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
        """The entries of rows ``index`` of any shape under one key, ``[index.numel(), …]``."""
        return self.leaves[key].index_select(0, index.reshape(-1))

    def restore(self, index: Tensor, rows: Rows | Pages) -> None:
        """Replace everything by rows ``index`` from any device, or by the pages of an equal storage."""
        self.leaves = {}
        if isinstance(rows, dict):
            # As they were stored, whatever a subclass is given to write.
            TensorStorage.write(self, index, {key: leaf.to(self.device) for key, leaf in rows.items()})
        elif numbers := rows.numbers():
            self._allocate(rows.read(numbers[0]))
            restore_pages(rows, self._marks, self.leaves)

    def pages(self) -> Pages:
        """All rows as pages, each with its rows at the time it is read."""
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
    """Frames by row number; the first write fixes their shape and dtype.

    Args:
        capacity: number of rows.
        place: ``memory``, of the device, or ``disk``: an unnamed file, mapped into memory, that the system removes
            when the process ends. Its pages belong to the system's cache, not to the process.
        device: device of ``memory``; a file is read on the CPU.
        folder: folder of the file; None is the system's folder for temporary files.

    Raises:
        ValueError: an unknown place, or a file for a device other than the CPU.
    """

    def __init__(
        self, capacity: int, place: Place = "memory", device: torch.device | str = "cpu", folder: Path | None = None
    ) -> None:
        self.capacity, self.place, self.device = capacity, place, torch.device(device)
        if place not in ("memory", "disk"):
            raise ValueError(f"expected storage to be memory or disk, got {place!r}")
        if place == "disk" and self.device.type != "cpu":
            raise ValueError(f"storage=disk is read on the CPU, not on {device}; set storage=memory or device=cpu")
        self._folder = folder
        self._frames: Tensor | None = None
        self._marks = PageMarks(0, 1)

    def write(self, index: Tensor, frames: Tensor) -> None:
        """Write ``frames`` ``[k, …]`` to row numbers ``index``, int64 ``[k]``, all different."""
        if self._frames is None:
            self._frames = self._allocate(frames.shape[1:], frames.dtype)
        self._marks.mark_rows(index.numpy())
        self._frames.index_copy_(0, index.to(self.device), frames.to(self.device))

    def read(self, index: Tensor) -> Tensor:
        """A copy of the frames at row numbers ``index``, int64 ``[k]``."""
        if self._frames is None:
            raise RuntimeError("no frame is stored yet; call write before read")
        return self._frames.index_select(0, index.to(self.device))

    def pages(self) -> Pages:
        """All frames as pages, each with its frames at the time it is read."""
        return live_pages(self._marks, {} if self._frames is None else {_FRAMES: self._frames})

    def restore(self, index: Tensor, frames: Tensor | Pages) -> None:
        """Write the frames of row numbers ``index``, or an equal storage's pages."""
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
    """Zeros; on the CPU in large pages, which make random reads faster, each allocated by the first write to it.

    Forked processes do not inherit this memory: every page written later would be copied.
    """
    if device.type != "cpu" or not hasattr(mmap, "MADV_HUGEPAGE") or 0 in shape:
        return torch.zeros(shape, dtype=dtype, device=device)
    room = mmap.mmap(-1, max(1, math.prod(shape) * dtype.itemsize), flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    room.madvise(mmap.MADV_DONTFORK)
    with contextlib.suppress(OSError):  # a kernel without large pages
        room.madvise(mmap.MADV_HUGEPAGE)
    return torch.frombuffer(room, dtype=dtype, count=math.prod(shape)).view(shape)


def _reserve(file: int, size: int) -> None:
    """Reserve the room on disk now: a disk that fills up later would end the process without a message."""
    try:
        os.posix_fallocate(file, 0, size)
    except OSError as error:
        raise NoRoom(
            f"the replay's frames need {size / 1e9:.1f} GB of room on disk in {tempfile.gettempdir()}: "
            f"{error.strerror}; lower replay.capacity, or let TMPDIR name another folder"
        ) from error


def _fits(leaf: Tensor) -> bool:
    return _row_bytes(leaf) <= PACKED_BYTES and leaf.dtype.itemsize <= ALIGNMENT


def _row_bytes(leaf: Tensor) -> int:
    return math.prod(leaf.shape[1:]) * leaf.dtype.itemsize
