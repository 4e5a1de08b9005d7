"""The sum tree: draws a leaf in proportion to its value, and changes a leaf, in logarithmic time."""

import ctypes
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from qframe.machine.native_code import library

FAN_OUT = 16  # measured for batches of 128: wider nodes cost more memory to read, narrower ones more levels
MOST_ROOTS = 4096  # nodes of the top level; found by binary search, and summed up after every change


class SumTree:
    """Non-negative leaves under nodes that each hold the sum of their children.

    Memory of a tree of 70,000 leaves, from the top down::

        running  [275]       0, then the sums of the first 1, 2, …, 274 roots; the last is the total
        roots    [274]       root i is the sum of row i of the first level
        nodes    [274, 16]   node j, counted row by row, is the sum of row j of the next level
        leaves   [4375, 16]  leaf k, counted row by row; those past the capacity stay 0

    Levels of nodes are added until there are at most 4096 roots.

    Invariants:
        - A node is exactly its children added in order: setting a leaf recomputes the nodes above it, so rounding
          errors do not accumulate, and equal leaves make equal trees whatever their history.
        - ``find`` always returns a leaf greater than 0: within a node the first child whose running sum exceeds the
          mass is greater than 0, and the mass passed down to it is kept below that child's own sum.

    See "Prioritized Experience Replay", Schaul et al., 2016, appendix B.2.1.

    Args:
        capacity: number of leaves ≥ 1, all 0 at first.

    Raises:
        ValueError: a capacity below 1.

    >>> tree = SumTree(4)
    >>> tree.set(np.array([0, 1, 3]), np.array([1.0, 2.0, 4.0]))
    >>> tree.total
    7.0
    >>> tree.find(np.array([0.5, 1.0, 3.0, 6.9])).tolist()
    [0, 1, 3, 3]
    """

    def __init__(self, capacity: int) -> None:
        if capacity < 1:
            raise ValueError(f"expected a capacity of at least 1, got {capacity}; a tree has a leaf")
        self.capacity = capacity
        self._value: list[np.ndarray] = []  # [nodes, FAN_OUT]: the children of each, from the top down to the leaves
        nodes = capacity
        while not self._value or nodes > MOST_ROOTS:
            nodes = -(-nodes // FAN_OUT)
            self._value.insert(0, np.zeros((nodes, FAN_OUT)))
        self._roots = np.zeros(nodes)
        self._running = np.zeros(nodes + 1)  # 0, then the sums up to and with each root
        self._leaves = self._value[-1].reshape(-1)
        self._above = [self._roots, *(level.reshape(-1) for level in self._value[:-1])]

    def __getstate__(self) -> dict[str, Any]:
        return {"capacity": self.capacity, "leaves": self._leaves[: self.capacity]}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["capacity"])
        self.set(np.arange(self.capacity), state["leaves"])

    @property
    def total(self) -> float:
        """The sum of all leaves."""
        return float(self._running[-1])

    def get(self, index: np.ndarray) -> np.ndarray:
        """The leaves ``index``, float64 of its shape."""
        return self._leaves.take(index)

    def set(self, index: np.ndarray, value: np.ndarray) -> None:
        """Set the leaves ``index`` ``[k]`` to ``value`` ``[k]``; where an index repeats, the last value wins.

        Raises:
            IndexError: an index outside ``0 … capacity − 1``.
            ValueError: a value is NaN, infinite or negative. Nothing has changed in either case.
        """
        if not len(index):
            return
        if not 0 <= index.min() <= index.max() < self.capacity:
            raise IndexError(f"expected leaves in 0 … {self.capacity - 1}, got {index.min()} … {index.max()}")
        if not 0.0 <= value.min() <= value.max() < np.inf:
            raise ValueError(
                f"expected finite values of at least 0, got {value.min()} … {value.max()}; look for a diverging loss"
            )
        self._leaves[index] = value
        for level, above in zip(reversed(self._value), reversed(self._above), strict=True):
            index = index // FAN_OUT
            above[index] = level.take(index, 0).cumsum(1)[:, -1]
        self._roots.cumsum(out=self._running[1:])

    def find(self, mass: np.ndarray) -> np.ndarray:
        """The first leaf at which the running sum over all leaves exceeds each ``mass``, int64 ``[k]``.

        Args:
            mass: ``[k]`` in ``[0, total)``; ``total`` itself, which rounding may give, counts as just below.

        Raises:
            RuntimeError: all leaves are 0.
        """
        if not self.total > 0.0:
            raise RuntimeError("all leaves are 0, so none can be found; set one first")
        mass = np.minimum(mass, np.nextafter(self.total, 0.0))
        node = self._running.searchsorted(mass, side="right") - 1
        mass, row = mass - self._running.take(node), np.arange(len(mass))
        for level in self._value:
            running = level.take(node, 0).cumsum(1)  # [k, FAN_OUT]
            mass = np.minimum(mass, np.nextafter(running[:, -1], 0.0))
            child = (running > mass[:, None]).argmax(1)
            mass = mass - np.where(child > 0, running[row, child - 1], 0.0)
            node = node * FAN_OUT + child
        return node


class NativeSumTree(SumTree):
    """A sum tree in native code, about ten times as fast as the one in NumPy and equal to it bit for bit.

    Args:
        capacity: number of leaves ≥ 1, all 0 at first.

    Raises:
        ValueError: a capacity below 1.
        RuntimeError: this machine has no C++ compiler.
    """

    def __init__(self, capacity: int) -> None:
        super().__init__(capacity)
        functions = _functions()
        if functions is None:
            raise RuntimeError("NativeSumTree needs a C++ compiler; install g++, or use SumTree")
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
        """Like ``SumTree``'s."""
        index, value = np.ascontiguousarray(index, np.int64), np.ascontiguousarray(value, np.float64)
        count = ctypes.c_int64(len(index))
        if index.shape != value.shape or self._set(*self._set_given, _pointer(index), _pointer(value), count):
            super().set(index, value)  # raises the error

    def find(self, mass: np.ndarray) -> np.ndarray:
        """Like ``SumTree``'s."""
        if not self.total > 0.0:
            return super().find(mass)  # raises the error
        mass = np.array(mass, np.float64)  # overwritten
        found = np.empty(len(mass), np.int64)
        self._find(*self._find_given, _pointer(mass), _pointer(found), ctypes.c_int64(len(mass)))
        return found


def sum_tree(capacity: int) -> SumTree:
    """The fastest tree that this machine can build.

    Raises:
        ValueError: a capacity below 1.
    """
    return SumTree(capacity) if _functions() is None else NativeSumTree(capacity)


@cache
def _functions() -> ctypes.CDLL | None:
    """``set_leaves`` and ``find_leaves`` of ``sum_tree.cpp``; None if they cannot be compiled."""
    return library(Path(__file__).with_name("sum_tree.cpp"), FAN_OUT=FAN_OUT)


def _pointer(array: np.ndarray) -> ctypes.c_void_p:
    return ctypes.c_void_p(array.ctypes.data)
