"""Parsing a command's arguments; an unknown option is reported with the nearest valid one."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from qframe.config.numbers import integer
from qframe.errors import UserError, hint


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors are :class:`UserError`."""

    def error(self, message: str) -> NoReturn:
        """Raise the error as one line."""
        message = message.replace("RUN, OVERRIDE", "RUN")  # argparse lists what may be left out as well
        raise UserError(f"{message}; see {self.prog} --help")

    def parse_words(self, words: Sequence[str]) -> argparse.Namespace:
        """Parse the arguments; options and overrides may come in any order.

        Raises:
            UserError: there is an unknown option, or an argument is missing or superfluous.
        """
        arguments, rest = self.parse_known_intermixed_args(words)
        if rest:
            options = [option for option in self._option_string_actions if option.startswith("--")]
            remedy = hint(rest[0], options) if rest[0].startswith("-") else f"see {self.prog} --help"
            raise UserError(f"unknown argument '{rest[0]}'; {remedy}")
        return arguments


def add_config_arguments(parser: argparse.ArgumentParser, *, overrides: bool = True) -> None:
    """Add the arguments of every command that composes a config: overrides, ``--config-dir`` and ``--trust``."""
    if overrides:
        text = "group=option or key=value, as network=shared_trunk optimizer.lr=1e-3 total_frames=1M"
        parser.add_argument("overrides", nargs="*", metavar="OVERRIDE", help=text)
    text = "a folder with options of your own, as network/my_net.yaml"
    parser.add_argument("--config-dir", type=Path, metavar="DIR", help=text)
    text = "a package that _target_ may name besides qframe, torch.nn and torch.optim; may be repeated"
    parser.add_argument("--trust", action="append", default=[], metavar="PREFIX", help=text)


def whole_number(text: str) -> int:
    """An integer in the notation of a config.

    >>> whole_number("1e3")
    1000
    """
    number = integer(text)
    if number is None:
        raise argparse.ArgumentTypeError(f"'{text}' is not an integer (e.g. 1000, 1e6, 50k or 1M)")
    return number
