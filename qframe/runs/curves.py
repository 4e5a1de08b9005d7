"""Learning curves of several runs on a common grid of frames, and how soon they reach a return."""

from collections.abc import Sequence
from math import inf
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from qframe.runs.folder import RunFolder


class Curves(NamedTuple):
    """Evaluations of R runs at the same frames."""

    frames: NDArray[np.float64]  # [K]
    returns: NDArray[np.float64]  # [R, K]

    @property
    def quartiles(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """The lower and the upper quartile over runs, ``[K]`` each."""
        low, high = np.quantile(self.returns, [0.25, 0.75], axis=0)
        return low, high


def curves(runs: Sequence[RunFolder]) -> Curves:
    """The evaluations of several runs on a common grid: at each frame of it, every run's latest evaluation.

    The grid has every frame at which a run was evaluated, from where all have been evaluated once to where one ends.
    """
    evaluated = [run.evaluations for run in runs]
    if not all(evaluated):
        return Curves(np.zeros(0), np.zeros((len(runs), 0)))
    first = max(points[0][0] for points in evaluated)
    last = min(points[-1][0] for points in evaluated)
    grid = np.array(sorted({frames for points in evaluated for frames, *_ in points if first <= frames <= last}))
    rows = []
    for points in evaluated:
        frames, returns = np.array([p[0] for p in points]), np.array([p[1] for p in points])
        rows.append(returns[np.searchsorted(frames, grid, side="right") - 1])
    return Curves(grid.astype(float), np.array(rows))


class Reached(NamedTuple):
    """How many runs reached a return, and the median frames and seconds they took; ∞ for a run that never did."""

    runs: int
    frames: float
    seconds: float


def time_to(threshold: float, runs: Sequence[RunFolder]) -> Reached:
    """How soon a mean greedy return of at least ``threshold`` was reached, in frames and seconds of training."""
    first = [next((point for point in run.evaluations if point[1] >= threshold), None) for run in runs]
    frames = [inf if point is None else float(point[0]) for point in first]
    seconds = [inf if point is None or point[2] is None else float(point[2]) for point in first]
    return Reached(sum(point is not None for point in first), _median(frames), _median(seconds))


def usual_threshold(runs: Sequence[RunFolder]) -> float | None:
    """Nine tenths of the way from the lowest evaluation of these runs to the highest; None without evaluations."""
    returns = [point[1] for run in runs for point in run.evaluations]
    return min(returns) + 0.9 * (max(returns) - min(returns)) if returns else None


def _median(values: Sequence[float]) -> float:
    """The median; infinite if one of the middle two is."""
    ordered = sorted(values)
    low, high = ordered[(len(ordered) - 1) // 2], ordered[len(ordered) // 2]
    return (low + high) / 2
