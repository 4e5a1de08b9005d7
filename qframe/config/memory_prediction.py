"""Predicts the replay's memory before the first step, and refuses a replay that does not fit the machine."""

import math
import os
import shutil
import tempfile
from collections.abc import Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from gymnasium import Space

from qframe.config.auto import workers_of
from qframe.config.parts import Parts
from qframe.envs.observations import own_copy
from qframe.networks.carried import carried
from qframe.replay import ReplayBuffer, RolloutBuffer, SliceReplayBuffer
from qframe.replay.priorities import starts_from_td_error

_REWARD_AND_ENDS = 4 + 3  # a 32-bit float; terminated, truncated and done
_ALIGNMENT = 8  # of a row's small entries
LARGEST_SHARE, LARGE_SHARE = 0.85, 0.5
"""Of the memory: a larger replay is refused, since the rest of the run needs memory too, or warned of."""


class _Row(NamedTuple):
    """Bytes of a replay's row."""

    observations: int
    others: int


def larger_than_machine(parts: Parts, config: Mapping[str, Any]) -> str | None:
    """Why the replay does not fit; None if it does, or if the available memory is unknown."""
    workers = workers_of(config)
    here = min(workers, int(os.environ.get("LOCAL_WORLD_SIZE") or workers))  # the other ranks are on other machines
    return larger_than_room(parts, parts.replay.capacity * here // workers)


def larger_than_room(parts: Parts, capacity: int) -> str | None:
    """Why a replay of this capacity does not fit the machine; None if it does, or if its memory is unknown."""
    place, row = _place(parts), _row(parts)
    if place != "disk":
        return _too_large(place, capacity, sum(row), "", f"of {place}")
    folder = f"free in '{tempfile.gettempdir()}', the folder that TMPDIR names"
    others = " of all but the observations, which stay in memory"
    on_disk = _too_large("disk", capacity, row.observations, " of observations", folder)
    return on_disk or _too_large("memory", capacity, row.others, others, "of memory")


def _too_large(place: str, capacity: int, each: int, what: str, where: str) -> str | None:
    room, share = _room(place), 1.0 if place == "disk" else LARGEST_SHARE
    if room is None or each * capacity <= share * room:
        return None
    limit = "" if place == "disk" else f", of which a replay may take {share:.0%}"
    return (
        f"too large for the {place}: {_gigabytes(each * capacity)}{what} ({capacity:,} × {each:,} bytes), and there "
        f"are {room / 1e9:,.1f} GB {where}{limit}; replay.capacity={int(share * room / each)} fits"
    )


def memory_warning(parts: Parts) -> str | None:
    """The warning of a replay that takes more than half of the memory; None for a smaller one."""
    place, row = _place(parts), _row(parts)
    needed = parts.replay.capacity * (row.others if place == "disk" else sum(row))
    room = _room(where := "memory" if place == "disk" else place)
    if room is None or needed <= LARGE_SHARE * room:
        return None
    return (
        f"replay: it will take {needed / room:.0%} of the {room / 1e9:,.1f} GB of {where}; if that is not free, "
        "lower replay.capacity, or use replay=frames for stacked images"
    )


def frames_instead(parts: Parts, stack: int) -> tuple[int, int | None]:
    """Bytes of the observations in the replay, and with every frame stored once; None if it cannot store them so.

    Args:
        parts: of the run.
        stack: frames in an observation.
    """
    replay, space = parts.replay, parts.envs.observation_space
    stored = replay.capacity * _row(parts).observations
    in_slices = isinstance(replay, SliceReplayBuffer) and not isinstance(replay, RolloutBuffer)
    is_whole = isinstance(replay, ReplayBuffer) or (in_slices and replay.stack < stack)
    fits = is_whole and getattr(space, "spaces", None) is None
    return stored, replay.capacity * observation_bytes(space) // stack if fits else None


def memory_line(parts: Parts) -> str:
    """The prediction as text, such as ``7.06 GB (1,000,000 × 7,080 bytes, 7,056 of observations) in memory``."""
    place, capacity, row = _place(parts), parts.replay.capacity, _row(parts)
    if place != "disk":
        return f"{_size(capacity, sum(row))}, {row.observations:,} of observations) in {place}"
    return f"{_size(capacity, row.observations)} of observations) on disk, {_size(capacity, row.others)}) in memory"


def _size(capacity: int, each: int) -> str:
    return f"{_gigabytes(capacity * each)} ({capacity:,} × {each:,} bytes"


def _gigabytes(count: int) -> str:
    return f"{count / 1e9:,.2f} GB" if count >= 1e9 else f"{count / 1e6:,.1f} MB"


def _row(parts: Parts) -> _Row:
    replay, size = parts.replay, observation_bytes(parts.envs.observation_space)
    action = parts.action_space.from_env(parts.envs.action_space.sample()).nbytes
    stored = sum(entry.nbytes // len(entry) for entry in deepcopy(parts.exploration).stored().values())
    stores_state = getattr(replay, "stores_state", False)
    network: Any = parts.loss.value_network
    remembered = carried(network, 1, parts.action_space, stores_state=stores_state)
    taken = torch.as_tensor(parts.action_space.from_env(parts.envs.action_space.sample()))
    entries = [*remembered.stored.values(), *remembered.after(taken[None], torch.zeros(1), torch.ones(1) > 0).values()]
    stored += sum(entry.nbytes for entry in entries)
    probability = 4 if "behaviour_probability" in parts.loss.estimator.requires else 0
    stored += 8 if starts_from_td_error(replay.priorities) else 0
    others = _REWARD_AND_ENDS + action + stored + probability + 2 * _mask_bytes(parts) + replay.bookkeeping_bytes
    whole = replay.observation_bytes(size)
    return _Row(whole, -(-(whole + others) // _ALIGNMENT) * _ALIGNMENT - whole)


def _mask_bytes(parts: Parts) -> int:
    if not parts.envs.has_masks:
        return 0
    return parts.action_space.legal(np.ones((1, sum(parts.action_space.choices)), np.bool_)).nbytes


def _place(parts: Parts) -> str:
    device = getattr(parts.replay, "device", torch.device("cpu"))
    return getattr(parts.replay, "storage", "memory") if device.type == "cpu" else f"memory of {device}"


def _room(place: str) -> int | None:
    """Bytes of memory, or free bytes on the disk of temporary files; None if unknown."""
    try:
        if " of " in place:
            return torch.cuda.mem_get_info(place.rpartition(" ")[2])[1]
        if place == "disk":
            return shutil.disk_usage(tempfile.gettempdir()).free
        return min([os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"), *_limits()])
    except (AttributeError, ValueError, OSError):
        return None


def _limits(of: Path = Path("/proc/self/cgroup"), root: Path = Path("/sys/fs/cgroup")) -> list[int]:
    """The memory limits of a container or a queue's job, in bytes: of the process's control groups and their parents.

    Args:
        of: the file that lists the groups, in lines such as ``0::/system.slice/job_7``.
        root: the folder of control groups, of version 2 or 1.
    """
    groups = [line.rpartition(":")[2].strip("/") for line in of.read_text().splitlines()] if of.is_file() else []
    inside = {root / place for group in groups for place in (Path(group), *Path(group).parents)}
    older = {root / "memory" / folder.relative_to(root) for folder in inside}
    files = [folder / "memory.max" for folder in inside] + [folder / "memory.limit_in_bytes" for folder in older]
    limits = [file.read_text().strip() for file in files if file.is_file()]
    return [int(limit) for limit in limits if limit.isdigit()]  # "max" is none


def observation_bytes(space: Space[Any]) -> int:
    """Bytes of one observation."""
    entries = getattr(space, "spaces", None)
    if entries is not None:
        return sum(map(observation_bytes, entries.values() if isinstance(entries, Mapping) else entries))
    if space.shape is None or space.dtype is None:
        return 0
    return math.prod(space.shape) * np.asarray(own_copy(np.zeros(1, space.dtype))).itemsize
