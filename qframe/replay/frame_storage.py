"""Where the frames of a replay are kept: in memory, in a file that is mapped into memory, or on another device."""

import math
import os
import tempfile
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from qframe.errors import RunError
from qframe.replay.memory import zeros
from qframe.replay.pages import Pages
from qframe.replay.storage import PageMarks, live_pages, take_over

Place = Literal["memory", "disk"]
_FRAMES = "frames"


class NoRoom(RunError):
    """The disk has no room for the replay; the run's last checkpoint stays as it is."""


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
        self._marks.rows(index.numpy())
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
            take_over(frames, self._marks, {_FRAMES: self._frames})

    def _allocate(self, shape: torch.Size, dtype: torch.dtype) -> Tensor:
        self._marks = PageMarks(self.capacity, math.prod(shape) * dtype.itemsize)
        if self.place == "memory":
            return zeros((self.capacity, *shape), dtype, self.device)
        size = self.capacity * math.prod(shape) * dtype.itemsize
        with tempfile.TemporaryFile(dir=self._folder) as file:
            _reserve(file.fileno(), size)
            raw = np.memmap(file, dtype=np.uint8, mode="r+", shape=(size,))
        return torch.from_numpy(raw).view(dtype).view(self.capacity, *shape)


def _reserve(file: int, size: int) -> None:
    """Take the room on disk now: a disk that fills later would end the process without a word."""
    try:
        os.posix_fallocate(file, 0, size)
    except OSError as error:
        raise NoRoom(
            f"expected {size / 1e9:.1f} GB of room on disk for the replay's frames, got {error.strerror}; lower "
            "replay.capacity, or let TMPDIR name another folder"
        ) from error
