"""Observations on their way between processes: each is sent once, and of stacked frames only the newest one."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Rows = dict[Any, Array]
"""Transitions ``[S · k, …]`` by key: S steps of k environments, in time order."""
WORTH_IT = 0.5
"""The share of observations that must continue their stack for the newest frames to be sent alone."""


class Sender:
    """Packs the messages of one sender; a ``Receiver`` that gets all of them unpacks the same rows, bit for bit.

    The observation of a step is the next observation of the step before, except where an episode begins; and with
    stacked frames, such as an Atari game's ``[4, 84, 84]``, a next observation is the observation shifted by one frame.
    Both are checked for each row, and what differs is sent whole. Messages with a step of only some environments, as of
    environments that reset themselves, are sent whole.

    Args:
        last: the ``last`` of a receiver that got all earlier messages; None if there are none.
    """

    def __init__(self, last: Rows | None = None) -> None:
        self._last: Rows = {} if last is None else dict(last)

    def pack(self, rows: Rows, num_envs: int) -> dict[str, Any]:
        """Pack rows, in time order.

        Args:
            rows: by key.
            num_envs: k.
        """
        if len(rows["env"]) % num_envs or (rows["env"].reshape(-1, num_envs) != rows["env"][:num_envs]).any():
            self._last = {}
            return {"rows": rows, "observations": {}}
        rest = {key: leaf for key, leaf in rows.items() if key not in (ends := observation_keys(rows)).values()}
        packed = {}
        for key, following in ends.items():
            own, after = (_by_step(rows[name], num_envs) for name in (key, following))
            begins = _differ(own, np.concatenate([self._last.get(key, own[:1]), after[:-1]]), 2)
            begins[0] |= key not in self._last
            packed[key] = _packed(own, after, begins)
            self._last[key] = after[-1:].copy()
            del rest[key]
        return {"rows": rest, "observations": packed}


class Receiver:
    """Unpacks the messages of one ``Sender``; ``last`` is the state that it continues from."""

    def __init__(self, last: Rows | None = None) -> None:
        self.last: Rows = {} if last is None else dict(last)

    def unpack(self, message: Mapping[str, Any]) -> Rows:
        """The rows that were packed."""
        rows: Rows = dict(message["rows"])
        if not message["observations"]:
            self.last = {}
        for key, packed in message["observations"].items():
            own, after = _unpacked(packed, self.last.get(key))
            self.last[key] = after[-1:].copy()
            rows[key], rows[_following(key)] = (leaf.reshape(-1, *leaf.shape[2:]) for leaf in (own, after))
        return rows


def observation_keys(rows: Rows) -> dict[Any, Any]:
    """The keys of observations, each with that of its next observation."""
    paths = {key: key if isinstance(key, tuple) else (key,) for key in rows}
    return {key: _following(key) for key, path in paths.items() if path[0] == "observation"}


def _following(key: Any) -> Any:
    return ("next", *key) if isinstance(key, tuple) else ("next", key)


def _by_step(leaf: Array, num_envs: int) -> Array:
    return np.ascontiguousarray(leaf).reshape(-1, num_envs, *leaf.shape[1:])  # [S, k, …]


def _packed(own: Array, after: Array, begins: Array) -> dict[str, Array]:
    """The observations that begin, and the next ones: whole, or their newest frames and those that do not shift."""
    packed = {"begins": begins, "first": own[begins]}
    if own.ndim < 4 or own.shape[2] < 2:  # one number a frame is no saving
        return packed | {"next": after}
    breaks = _differ(own[:, :, 1:], after[:, :, :-1], 2)
    if breaks.mean() > WORTH_IT:
        return packed | {"next": after}
    return packed | {"newest": after[:, :, -1], "breaks": breaks, "other": after[breaks]}


def _unpacked(packed: Mapping[str, Array], last: Array | None) -> tuple[Array, Array]:
    begins, newest, firsts = packed["begins"], packed.get("newest"), _rows_of(packed["begins"], packed["first"])
    if newest is None:
        after, breaks, others = packed["next"], begins, firsts
    else:
        after = np.empty((*begins.shape, *packed["first"].shape[1:]), newest.dtype)
        breaks, others = packed["breaks"], _rows_of(packed["breaks"], packed["other"])
    own = np.empty_like(after)
    for step in range(len(begins)):
        before = after[step - 1 : step] if step else last
        if before is not None:
            own[step] = before[0]
        own[step][begins[step]] = firsts[step]
        if newest is not None:
            after[step, :, :-1], after[step, :, -1] = own[step, :, 1:], newest[step]
            after[step][breaks[step]] = others[step]
    return own, after


def _rows_of(flags: Array, rows: Array) -> list[Array]:
    """The rows of each step, where flags ``[S, k]`` say how many it has."""
    return np.split(rows, np.cumsum(flags.sum(1))[:-1])


def _differ(first: Array, second: Array, kept: int) -> Array:
    """Where any bit differs, over all but the first ``kept`` dimensions."""
    same_bits = [np.ascontiguousarray(leaf).view(np.uint8).reshape(*leaf.shape[:kept], -1) for leaf in (first, second)]
    return (same_bits[0] != same_bits[1]).any(-1)

