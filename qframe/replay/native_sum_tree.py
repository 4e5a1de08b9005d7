"""The sum tree with its two operations as native code, where there is a compiler."""

import ctypes
from functools import cache
from pathlib import Path

import numpy as np

from qframe.machine.native_code import library
from qframe.replay.sum_tree import FAN_OUT, SumTree


class NativeSumTree(SumTree):
    """A sum tree that changes and finds leaves some ten times as fast, bit for bit as the one in NumPy.

    Args:
        capacity: number of leaves ≥ 1, all 0 at first.

    Raises:
        ValueError: a capacity below 1.
        RuntimeError: there is no compiler.
    """

    def __init__(self, capacity: int) -> None:
        super().__init__(capacity)
        functions = _functions()
        if functions is None:
            raise RuntimeError("expected a C++ compiler, got none; use SumTree, or install g++")
        depth = len(self._value)
        levels = (ctypes.c_void_p * depth)(*(level.ctypes.data for level in self._value))
        running, num_roots = ctypes.c_void_p(self._running.ctypes.data), ctypes.c_int64(len(self._roots))
        self._set = functions.set_leaves
        self._set_given = (
            levels, ctypes.c_int64(depth), ctypes.c_void_p(self._roots.ctypes.data), running, num_roots,
            ctypes.c_int64(capacity),
        )  # fmt: skip
        self._find = functions.find_leaves
        self._find_given = (levels, ctypes.c_int64(depth), running, num_roots)

    def set(self, index: np.ndarray, value: np.ndarray) -> None:
        """As in NumPy."""
        index, value = np.ascontiguousarray(index, np.int64), np.ascontiguousarray(value, np.float64)
        count = ctypes.c_int64(len(index))
        if index.shape != value.shape or self._set(*self._set_given, _pointer(index), _pointer(value), count):
            super().set(index, value)  # refuses it in words

    def find(self, mass: np.ndarray) -> np.ndarray:
        """As in NumPy."""
        if not self.total > 0.0:
            return super().find(mass)  # refuses it in words
        mass = np.array(mass, np.float64)  # written over
        found = np.empty(len(mass), np.int64)
        self._find(*self._find_given, _pointer(mass), _pointer(found), ctypes.c_int64(len(mass)))
        return found


def sum_tree(capacity: int) -> SumTree:
    """The fastest tree that this machine can have.

    Raises:
        ValueError: a capacity below 1.
    """
    return SumTree(capacity) if _functions() is None else NativeSumTree(capacity)


@cache
def _functions() -> ctypes.CDLL | None:
    """``set_leaves`` and ``find_leaves`` of ``sum_tree.cpp``; None where they cannot be compiled."""
    return library(Path(__file__).with_name("sum_tree.cpp"), FAN_OUT=FAN_OUT)


def _pointer(array: np.ndarray) -> ctypes.c_void_p:
    return ctypes.c_void_p(array.ctypes.data)
