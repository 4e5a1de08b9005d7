"""Where tensors of a replay live: devices that are there, and memory that is taken as it is written."""

import contextlib
import math
import mmap

import torch
from torch import Tensor


def usable_device(device: torch.device | str) -> torch.device:
    """The device of a name, one that is there.

    Raises:
        ValueError: no such device.
    """
    try:
        found = torch.device(device)
    except RuntimeError as error:
        raise ValueError(f"expected a device such as cpu or cuda, got '{device}'") from error
    if found.type == "cuda" and (found.index or 0) >= torch.cuda.device_count():
        raise ValueError(f"expected a device that this machine has, got '{device}'; use cpu")
    return found


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
