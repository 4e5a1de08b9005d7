"""What may fail without ending a run: a log that cannot be written, a video that cannot be made."""

from types import TracebackType

from qframe.loggers.console import Report


class ToleratedFailures:
    """A context in which an exception is suppressed, and the first one reported.

    Args:
        report: where the first failure is reported.
        message: what failed.

    >>> from qframe.loggers.console import LineReport
    >>> failures = ToleratedFailures(LineReport(), "a log could not be written")
    >>> for _ in range(2):
    ...     with failures:
    ...         raise OSError("disk full")
    a log could not be written (OSError: disk full); training continues, and later failures are not reported
    >>> failures.count
    2
    """

    def __init__(self, report: Report, message: str) -> None:
        self._report, self._message = report, message
        self.count = 0

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool:
        if not isinstance(error, Exception):
            return False
        self.count += 1
        if self.count == 1:
            failure = f"{self._message} ({type(error).__name__}: {error})"
            self._report.say(f"{failure}; training continues, and later failures are not reported")
        return True
