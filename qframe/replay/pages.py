"""Rows of a storage page by page, so that a checkpoint writes only the pages that changed since an earlier one."""

from collections.abc import Callable

from torch import Tensor

from qframe.keys import NestedKey


class Pages:
    """Pages of rows, each with the number of the write that changed it last.

    Args:
        rows_per_page: the last page may have fewer.
        written: int64 ``[pages]``, 0 where a page was never written.
        clock: how many writes there have been.
        read: page → its rows, on the CPU.
    """

    def __init__(
        self, rows_per_page: int, written: Tensor, clock: int, read: Callable[[int], dict[NestedKey, Tensor]]
    ) -> None:
        self.rows_per_page, self.written, self.clock, self.read = rows_per_page, written, clock, read

    def numbers(self) -> list[int]:
        """The pages that hold something."""
        return self.written.nonzero()[:, 0].tolist()
