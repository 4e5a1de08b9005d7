"""Optimization: the gradient step, its schedules, and updates that are not finite."""

from qframe.optimizer.optimizer import Optimizer

__all__ = [
    "Optimizer",
]
