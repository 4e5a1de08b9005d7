"""Where rows are kept: preallocated tensors addressed by row number, and the check that all rows look alike.

Rows are a flat dictionary from (nested) key to a tensor ``[k, …]``: the inner loop never builds a tensordict but
the one it returns.
"""

import math
import mmap
from collections.abc import Iterable
from typing import cast

import numpy as np
import torch
from tensordict import TensorDict
from torch import Tensor

from qframe.data.keys import NestedKey
from qframe.data.replay.pages import Pages

Rows = dict[NestedKey, Tensor]

ENV = "env"
STEPS = "steps_to_next_obs"
REWARD = ("next", "reward")
TERMINATED = ("next", "terminated")
TRUNCATED = ("next", "truncated")
DONE = ("next", "done")
DISCOUNT = ("next", "discount")


PAGE_BYTES = 4 * 2**20


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


class TensorStorage:
    """Rows in preallocated tensors, one per key; the first write allocates them, in the dtype that it brings.

    Args:
        capacity: number of rows.
        device: where the tensors live.
        is_paged: whether ``pages`` will be asked for.
    """

    def __init__(self, capacity: int, device: torch.device | str = "cpu", *, is_paged: bool = False) -> None:
        self.capacity = capacity
        self.device = torch.device(device)
        self.leaves: Rows = {}  # [capacity, …]; empty before the first write
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
        """A copy of the rows ``index``, int64 ``[k]`` on the storage's device."""
        return {key: leaf.index_select(0, index) for key, leaf in self.leaves.items()}

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
            self.leaves = {
                key: zeros((self.capacity, *leaf.shape[1:]), leaf.dtype, self.device) for key, leaf in rows.items()
            }
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
            _check_first(rows)
        elif rows.keys() != self._like.keys():
            _raise_key_error(missing=self._like.keys() - rows.keys(), new=rows.keys() - self._like.keys())
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
                _raise_unlike(key, f"[{', '.join(['k', *map(str, shape)])}] of {dtype}, as in the first rows", leaf)


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


def zeros(shape: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    """Zeros; on the CPU in memory that is taken where something is written, in large pages: random reads are faster."""
    if device.type != "cpu" or not hasattr(mmap, "MADV_HUGEPAGE"):
        return torch.zeros(shape, dtype=dtype, device=device)
    room = mmap.mmap(-1, max(1, math.prod(shape) * dtype.itemsize), flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    room.madvise(mmap.MADV_HUGEPAGE)
    return torch.frombuffer(room, dtype=dtype, count=math.prod(shape)).view(shape)


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


def check_num_envs(num_envs: int) -> None:
    """There is a stream."""
    if num_envs < 1:
        raise ValueError(f"expected num_envs of at least 1, got {num_envs}; it is the number of environments")


def chosen_streams(env: int | None, num_envs: int) -> np.ndarray:
    """One stream, or all of them for None."""
    chosen = np.arange(num_envs) if env is None else np.array([env])
    check_streams(chosen, num_envs)
    return chosen


def _check_first(rows: Rows) -> None:
    missing = {ENV, REWARD, TERMINATED, TRUNCATED, DONE} - rows.keys()
    if missing:
        _raise_key_error(missing=missing, new=set())
    taken = rows.keys() & {DISCOUNT, STEPS, "index", "priority_weight"}
    if taken:
        _raise_key_error(missing=set(), new=taken)
    if rows[ENV].shape[1:] or rows[ENV].dtype is not torch.int64:
        _raise_unlike(ENV, "[k] of torch.int64", rows[ENV])
    if rows[REWARD].shape[1:] != (1,) or not rows[REWARD].is_floating_point():
        _raise_unlike(REWARD, "[k, 1] of a float dtype", rows[REWARD])
    for key in (TERMINATED, TRUNCATED, DONE):
        if rows[key].shape[1:] != (1,) or rows[key].dtype is not torch.bool:
            _raise_unlike(key, "[k, 1] of torch.bool", rows[key])


def _raise_key_error(missing: set, new: set) -> None:
    names = {"missing": sorted(map(str, missing)), "new": sorted(map(str, new))}
    told = "; ".join(f"{word}: {', '.join(keys)}" for word, keys in names.items() if keys)
    raise KeyError(f"expected transitions with the keys that a replay stores, got {told}; give every row the same keys")


def _raise_unlike(key: NestedKey, expected: str, leaf: Tensor) -> None:
    raise ValueError(
        f"expected {key!r} to be {expected}, got {list(leaf.shape)} of {leaf.dtype}; convert it before extend"
    )
