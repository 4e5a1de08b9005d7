"""Logs and films never end a run: what cannot be made is told once, and training goes on."""

from collections.abc import Callable
from typing import Any

from qframe.loggers.console import Report

MUST_WORK = ("open", "state_dict", "load_state_dict")
"""What a run cannot do without: where it would log must be there when it starts."""


class Unfailing:
    """Something whose calls cannot fail once it is open: the disk may fill, a server may be gone.

    Args:
        writer: with any methods.
        report: where the first failure is told.
        failure: in words.
    """

    def __init__(self, writer: Any, report: Report, failure: str = "a log could not be written") -> None:
        self._writer, self._report, self._failure = writer, report, failure
        self.failures = 0

    def __getattr__(self, name: str) -> Any:
        """The writer's own attribute; a method that fails returns None."""
        found = getattr(self._writer, name)
        return self._guarded(found) if callable(found) and name not in MUST_WORK else found

    def _guarded(self, method: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            try:
                return method(*args, **kwargs)
            except Exception as error:
                self.failures += 1
                if self.failures == 1:
                    told = f"{self._failure} ({type(error).__name__}: {error})"
                    self._report.say(f"{told}; training goes on, and what fails later is not told")

        return call
