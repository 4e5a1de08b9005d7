"""The C library's allocator: what one update frees, the next one takes again, and no thread hoards what is free."""

import ctypes
import sys

_TRIM_THRESHOLD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -3, -8  # glibc's M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_ARENA_MAX
LARGEST = 32 * 2**20
"""Bytes of an array that is taken from the heap; glibc allows no more."""
KEPT = 512 * 2**20
"""Free bytes at the end of the heap that are kept."""


def keep_freed_memory() -> None:
    """Have glibc keep what is freed, for the whole process; with another C library nothing changes.

    It would give the pages of an update's arrays back to the system, which has to clear them for the next update: some
    15 % of the time of one with images of 84 × 84 pixels.
    """
    if (library := _glibc()) is not None:
        library.mallopt(_MMAP_THRESHOLD, LARGEST)
        library.mallopt(_TRIM_THRESHOLD, KEPT)


def share_heap() -> None:
    """Have all threads that start from now on take memory from one heap; with another C library nothing changes.

    Each thread of the environments would have its own, with pages that it freed and nobody else takes.
    """
    if (library := _glibc()) is not None:
        library.mallopt(_ARENA_MAX, 1)


def give_back_freed_memory() -> None:
    """Give back every free page there is now; for after rare things that took much, such as an evaluation."""
    if (library := _glibc()) is not None:
        library.malloc_trim(0)


def _glibc() -> ctypes.CDLL | None:
    if sys.platform == "linux" and hasattr(library := ctypes.CDLL(None), "gnu_get_libc_version"):
        return library
    return None
