"""A run's folder, written and read; and what several runs show together."""

from qframe.runs.folder import RunFolder

__all__ = [
    "RunFolder",
]
