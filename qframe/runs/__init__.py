"""The folder of a run, and comparisons of several runs."""

from qframe.runs.folder import RunFolder

__all__ = [
    "RunFolder",
]
