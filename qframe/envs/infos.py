"""Numbers in an environment's infos, read by their paths for ``env.log_info``."""

from collections.abc import Iterator, Mapping, Sequence
from numbers import Real
from typing import Any

import numpy as np
from numpy.typing import NDArray

NUMBERS = "qframe_numbers"
"""The key of infos under which ``Checked`` passes the numbers on."""
ABSENT, NO_NUMBER = np.nan, np.inf
"""In place of the number of a key that an info lacks, and of a value that is not one finite number."""


def checked_paths(paths: Sequence[str]) -> tuple[str, ...]:
    """The paths.

    Raises:
        ValueError: an empty path, or one that occurs twice.

    >>> checked_paths(["is_success", "stats.level"])
    ('is_success', 'stats.level')
    """
    for path in paths:
        if not all(path.split(".")) or list(paths).count(path) > 1:
            raise ValueError(f"expected log_info to be keys of infos, each once, such as [is_success], got {[*paths]}")
    return tuple(paths)


def info_numbers(info: Mapping[str, Any], paths: Sequence[str]) -> NDArray[np.float64]:
    """The numbers at the paths of one environment's info, ``[K]``.

    >>> info_numbers({"stats": {"level": 3}, "won": True, "name": "x"}, ["stats.level", "won", "name", "missing"])
    array([ 3.,  1., inf, nan])
    """
    return np.array([_number(_entry(info, path)) for path in paths])


def vector_numbers(info: Mapping[str, Any], paths: Sequence[str], num_envs: int) -> NDArray[np.float64]:
    """The numbers at the paths of a vector environment's infos, ``[E, K]``.

    Args:
        info: an array ``[E, …]`` per key, and beside it, as ``_key``, which environments gave one; nested alike.
        paths: K of them.
        num_envs: E.

    >>> vector_numbers({"x": np.array([1.0, 0.0]), "_x": np.array([True, False])}, ["x"], 2)
    array([[ 1.],
           [nan]])
    """
    if NUMBERS in info:
        return np.where(info[f"_{NUMBERS}"][:, None], info[NUMBERS], ABSENT)
    numbers = np.full((num_envs, len(paths)), ABSENT)
    for column, path in enumerate(paths):
        parent, _, key = path.rpartition(".")
        holder = _entry(info, parent) if parent else info
        if not isinstance(holder, Mapping) or key not in holder:
            continue
        given = holder.get(f"_{key}", np.ones(num_envs, np.bool_))
        entries = holder[key] if np.ndim(holder[key]) and len(holder[key]) == num_envs else [None] * num_envs
        numbers[:, column] = [_number(entry) if has else ABSENT for entry, has in zip(entries, given, strict=True)]
    return numbers


def number_paths(info: Mapping[str, Any], *, is_vector: bool = False) -> list[str]:
    """The paths of all numbers in an info, for messages.

    >>> number_paths({"stats": {"level": 3}, "name": "x", "is_success": False})
    ['stats.level', 'is_success']
    """
    entries = dict(_entries(info))
    if is_vector:
        own = [path for path, entry in entries.items() if np.ndim(entry) and not path.split(".")[-1].startswith("_")]
        entries = {path: entries[path][0] for path in own}
    return [path for path, entry in entries.items() if np.isfinite(_number(entry))]


def _entries(info: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    for key, entry in info.items():
        if isinstance(entry, Mapping):
            yield from _entries(entry, f"{above}{key}.")
        else:
            yield f"{above}{key}", entry


def _entry(info: Any, path: str) -> Any:
    """The entry at a path; ``ABSENT`` if there is none."""
    for key in path.split("."):
        if not isinstance(info, Mapping) or key not in info:
            return ABSENT
        info = info[key]
    return info


def _number(entry: Any) -> float:
    """An entry as a number; booleans are 0 and 1."""
    if entry is ABSENT:
        return ABSENT
    if isinstance(entry, np.ndarray | np.generic) and entry.shape == () and entry.dtype.kind in "biuf":
        entry = entry.item()
    return float(entry) if isinstance(entry, Real) and np.isfinite(float(entry)) else NO_NUMBER
