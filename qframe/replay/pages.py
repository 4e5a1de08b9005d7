"""Rows of a storage page by page, so that a checkpoint writes only the pages that changed since the previous one."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from qframe.replay.rows import Rows

PAGE_BYTES = 4 * 2**20


class Pages:
    """Pages of rows, each with the number of the write that changed it last.

    Args:
        rows_per_page: the last page may have fewer.
        written: int64 ``[pages]``, 0 for a page that was never written.
        clock: number of writes so far.
        read: page → its rows, on the CPU.
    """

    def __init__(self, rows_per_page: int, written: Tensor, clock: int, read: Callable[[int], Rows]) -> None:
        self.rows_per_page, self.written, self.clock, self.read = rows_per_page, written, clock, read

    def numbers(self) -> list[int]:
        """The pages that have been written."""
        return self.written.nonzero()[:, 0].tolist()


class PageMarks:
    """The number of the write that changed each page last.

    Args:
        capacity: number of rows.
        row_bytes: bytes of a row; a page has about 4 MiB.
    """

    def __init__(self, capacity: int, row_bytes: int) -> None:
        self.rows_per_page = max(1, PAGE_BYTES // max(1, row_bytes))
        self.written = np.zeros(-(-capacity // self.rows_per_page), np.int64)
        self.clock = 0

    def mark_span(self, start: int, stop: int) -> None:
        """Record a write of rows ``start … stop − 1``."""
        self.clock += 1
        self.written[start // self.rows_per_page : (stop - 1) // self.rows_per_page + 1] = self.clock

    def mark_rows(self, index: np.ndarray) -> None:
        """Record a write of rows ``index``."""
        self.clock += 1
        self.written[index // self.rows_per_page] = self.clock


def live_pages(marks: PageMarks, leaves: Rows) -> Pages:
    """The pages of tensors ``[capacity, …]``, each with its content at the time it is read."""
    size = marks.rows_per_page

    def read(page: int) -> Rows:
        return {key: leaf[page * size : (page + 1) * size].cpu().clone() for key, leaf in leaves.items()}

    return Pages(size, torch.tensor(marks.written), marks.clock, read)


def restore_pages(pages: Pages, marks: PageMarks, leaves: Rows) -> None:
    """Copy every page to its place in tensors ``[capacity, …]``."""
    marks.rows_per_page, marks.written, marks.clock = pages.rows_per_page, pages.written.numpy().copy(), pages.clock
    for page in pages.numbers():
        first = page * pages.rows_per_page
        for key, rows in pages.read(page).items():
            leaves[key][first : first + len(rows)] = rows.to(leaves[key].device)
