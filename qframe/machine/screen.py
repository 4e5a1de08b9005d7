"""The standard streams as logs that may fail: a reader that left, a closed terminal, a full disk, ASCII."""

import errno
import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, NamedTuple

PLAIN = str.maketrans({"±": "+-", "…": "...", "–": "-", "→": "->", "×": "x", "≥": ">=", "≤": "<=", "−": "-", "’": "'"})
"""What stands for the characters of qframe's messages in an encoding without them."""


class Stream(io.TextIOBase):
    """A standard stream that raises nothing.

    Characters that its encoding lacks are replaced. At its first failure it is given up, with one warning on the other
    stream; text for standard error then goes to standard output.

    Args:
        stream: the stream; None if it was closed before Python started.
        name: of it, for the warning.
    """

    def __init__(self, stream: Any, name: str) -> None:
        self.wrapped, self._name = stream, name
        self.other: Stream | None = None
        self.fault: Exception | None = None
        self.warns_of_reader = True
        """Whether a reader that left is worth a warning, as it is for a run and is not for ``qframe list | head``."""
        self._owner = os.getpid()  # processes that are forked do not warn again

    @property
    def has_reader(self) -> bool:
        """Whether the stream did not fail, or only because its reader left."""
        return self.fault is None or getattr(self.fault, "errno", None) == errno.EPIPE

    @property
    def encoding(self) -> str:  # pyright: ignore[reportIncompatibleVariableOverride]
        """The stream's."""
        return getattr(self.wrapped, "encoding", None) or "utf-8"

    def write(self, text: str) -> int:
        """Write the text if that is possible; the number of its characters."""
        if self.fault is None:
            try:
                self.wrapped.write(self._encodable(text))
                return len(text)
            except (OSError, ValueError, AttributeError) as error:
                self._give_up(error)
        if self._name == "standard error" and self.other is not None and self.other.fault is None:
            self.other.write(text)
        return len(text)

    def flush(self) -> None:
        """Write what is buffered."""
        if self.fault is None and self.wrapped is not None:
            try:
                self.wrapped.flush()
            except (OSError, ValueError) as error:
                self._give_up(error)

    def isatty(self) -> bool:
        """Whether it is a terminal."""
        with suppress(ValueError, AttributeError):
            return self.fault is None and self.wrapped.isatty()
        return False

    def fileno(self) -> int:
        """The stream's file descriptor."""
        return self.wrapped.fileno()

    def writable(self) -> bool:
        """True."""
        return True

    def _encodable(self, text: str) -> str:
        try:
            text.encode(self.encoding)
            return text
        except UnicodeError:
            return text.translate(PLAIN).encode(self.encoding, "replace").decode(self.encoding)

    def _give_up(self, error: Exception) -> None:
        self.fault = error
        with suppress(OSError, ValueError, AttributeError):  # for the writes of others, and Python's own at its exit
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, self.wrapped.fileno())
            os.close(null)
        if self.other is not None and os.getpid() == self._owner and (self.warns_of_reader or not self.has_reader):
            reason = getattr(error, "strerror", None) or "it is closed"
            self.other.write(f"qframe: warning: {self._name} cannot be written ({reason}); nothing more goes there\n")


class Screen(NamedTuple):
    """The standard streams."""

    output: Stream
    error: Stream


@contextmanager
def guarded_screen() -> Iterator[Screen]:
    """While active, writing to the standard streams raises nothing."""
    for number in range(3):  # a file opened later must not get the number of a closed stream
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    earlier = sys.stdout, sys.stderr
    screen = Screen(Stream(sys.stdout, "standard output"), Stream(sys.stderr, "standard error"))
    screen.output.other, screen.error.other = screen.error, screen.output
    sys.stdout, sys.stderr = screen  # pyright: ignore[reportAttributeAccessIssue]
    try:
        yield screen
    finally:
        for stream in screen:
            stream.flush()
        sys.stdout, sys.stderr = earlier
