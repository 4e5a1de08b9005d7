"""Failures that do not end a run, such as a log that cannot be written or a video that cannot be made."""

from collections.abc import Iterator
from contextlib import contextmanager

from qframe.loggers.console import Report


class Failures:
    """Failures that a run tolerates; the first one is reported.

    Args:
        report: where it is reported.
        message: what failed.

    >>> from qframe.loggers.console import LineReport
    >>> failures = Failures(LineReport(), "a log could not be written")
    >>> for _ in range(2):
    ...     with failures.tolerated():
    ...         raise OSError("disk full")
    a log could not be written (OSError: disk full); training continues, and later failures are not reported
    """

    def __init__(self, report: Report, message: str) -> None:
        self._report, self._message, self._is_first = report, message, True

    @contextmanager
    def tolerated(self) -> Iterator[None]:
        """Suppress an exception."""
        try:
            yield
        except Exception as error:
            if self._is_first:
                failure = f"{self._message} ({type(error).__name__}: {error})"
                self._report.say(f"{failure}; training continues, and later failures are not reported")
            self._is_first = False
