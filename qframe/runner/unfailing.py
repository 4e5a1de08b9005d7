"""Logging that never ends a run: what cannot be written is told once, and training goes on."""

from collections.abc import Callable
from typing import Any

from qframe.runner.progress import Report

MUST_WORK = ("open", "state_dict", "load_state_dict")
"""What a run cannot do without: where it would log must be there when it starts."""


class Unfailing:
    """A logger whose calls cannot fail once it is open: the disk may fill, a server may be gone.

    Args:
        logger: with any methods.
        report: where the first failure is told.
    """

    def __init__(self, logger: Any, report: Report) -> None:
        self._logger, self._report = logger, report
        self.failures = 0

    def __getattr__(self, name: str) -> Any:
        """The logger's own attribute; a method that fails returns None."""
        found = getattr(self._logger, name)
        return self._guarded(found) if callable(found) and name not in MUST_WORK else found

    def _guarded(self, method: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            try:
                return method(*args, **kwargs)
            except Exception as error:
                self.failures += 1
                if self.failures == 1:
                    told = f"a log could not be written ({type(error).__name__}: {error})"
                    self._report.say(f"{told}; training goes on, and what fails later is not told")

        return call
