"""The C library's allocator: what one update frees, the next one takes again."""

import ctypes
import sys

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # glibc's M_TRIM_THRESHOLD and M_MMAP_THRESHOLD
LARGEST = 32 * 2**20
"""Bytes of an array that is taken from the heap; glibc allows no more."""
KEPT = 512 * 2**20
"""Free bytes at the end of the heap that are kept."""


def keep_freed_memory() -> None:
    """Have glibc keep what is freed, for the whole process; with another C library nothing changes.

    It would give the pages of an update's arrays back to the system, which has to clear them for the next update: some
    15 % of the time of one with images of 84 × 84 pixels.
    """
    if sys.platform == "linux" and hasattr(library := ctypes.CDLL(None), "gnu_get_libc_version"):
        library.mallopt(_MMAP_THRESHOLD, LARGEST)
        library.mallopt(_TRIM_THRESHOLD, KEPT)
