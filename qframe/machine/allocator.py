"""Settings of the C library's allocator: freed memory is kept for the next update, in one heap for all threads."""

import ctypes
import sys

_TRIM_THRESHOLD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -3, -8  # glibc's M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_ARENA_MAX
LARGEST = 32 * 2**20
"""Bytes of the largest array that comes from the heap; glibc allows no more."""
KEPT = 512 * 2**20
"""Bytes of free memory kept at the end of the heap."""


def keep_freed_memory() -> None:
    """Have glibc keep freed memory, for the whole process; with another C library nothing changes.

    Otherwise it returns the pages of an update's arrays to the system, which has to clear them for the next update:
    about 15 % of the time of an update on images of 84 × 84 pixels.
    """
    if (library := _glibc()) is not None:
        library.mallopt(_MMAP_THRESHOLD, LARGEST)
        library.mallopt(_TRIM_THRESHOLD, KEPT)


def share_heap() -> None:
    """Have all threads started from now on share one heap; with another C library nothing changes.

    Otherwise each thread of the environments has a heap of its own, and keeps freed pages that no other thread can use.
    """
    if (library := _glibc()) is not None:
        library.mallopt(_ARENA_MAX, 1)


def give_back_freed_memory() -> None:
    """Return all free pages to the system, after a rare, memory-hungry task such as an evaluation."""
    if (library := _glibc()) is not None:
        library.malloc_trim(0)


def _glibc() -> ctypes.CDLL | None:
    if sys.platform == "linux" and hasattr(library := ctypes.CDLL(None), "gnu_get_libc_version"):
        return library
    return None
