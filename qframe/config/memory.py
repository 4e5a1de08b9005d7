"""What a replay's observations take, told before the first step, and refused where the machine does not have it."""

import math
import os
import shutil
import tempfile
from collections.abc import Mapping
from typing import Any

import torch
from gymnasium import Space

from qframe.config.parts import Parts


def larger_than_machine(parts: Parts, config: Mapping[str, Any]) -> str | None:
    """Why the replay does not fit; None where it does, or where the system does not tell."""
    place, room, needed = _place(parts), _room(_place(parts)), _needed(parts)
    if room is None or needed <= room:
        return None
    return (
        f"expected a capacity that fits the {place}, got {parts.replay.capacity:,}: {_arithmetic(parts)}, this machine "
        f"has {room / 1e9:,.1f} GB of {place}"
    )


def memory_line(parts: Parts) -> str:
    """The prediction in words, such as ``7.06 GB of memory for observations (1,000,000 × 7,056 bytes)``."""
    return f"{_arithmetic(parts)} in {_place(parts)}"


def _arithmetic(parts: Parts) -> str:
    needed, capacity = _needed(parts), parts.replay.capacity
    return f"{_gigabytes(needed)} of observations ({capacity:,} × {needed // capacity:,} bytes)"


def _gigabytes(count: int) -> str:
    return f"{count / 1e9:,.2f} GB" if count >= 1e9 else f"{count / 1e6:,.1f} MB"


def _needed(parts: Parts) -> int:
    size = observation_bytes(parts.envs.observation_space)
    return parts.replay.capacity * parts.replay.observations_per_row * size // getattr(parts.replay, "stack", 1)


def _place(parts: Parts) -> str:
    device = getattr(parts.replay, "device", torch.device("cpu"))
    return getattr(parts.replay, "storage", "memory") if device.type == "cpu" else f"memory of {device}"


def _room(place: str) -> int | None:
    """Bytes of memory, or free ones on the disk for temporary files."""
    try:
        if " of " in place:
            return torch.cuda.mem_get_info(place.rpartition(" ")[2])[1]
        if place == "disk":
            return shutil.disk_usage(tempfile.gettempdir()).free
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return None


def observation_bytes(space: Space[Any]) -> int:
    """What one observation takes."""
    entries = getattr(space, "spaces", None)
    if entries is not None:
        return sum(map(observation_bytes, entries.values() if isinstance(entries, Mapping) else entries))
    if space.shape is None or space.dtype is None:
        return 0
    size = 4 if space.dtype.kind == "f" else space.dtype.itemsize  # floats are stored as 32-bit ones
    return math.prod(space.shape) * size
