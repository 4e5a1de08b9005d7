"""Checkpoints: the whole state of a run, written durably and read back."""

from qframe.checkpoints.load import load_checkpoint
from qframe.checkpoints.save import Checkpoints

__all__ = [
    "Checkpoints", "load_checkpoint",
]
