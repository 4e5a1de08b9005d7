"""Reading a command's words, with the nearest valid option named when one is mistyped."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from qframe.config.numbers import integer
from qframe.errors import UserError, hint


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors are :class:`UserError`."""

    def error(self, message: str) -> NoReturn:
        """Tell what is wrong in one line."""
        message = message.replace("RUN, OVERRIDE", "RUN")  # argparse lists what may be left out as well
        raise UserError(f"{message}; see {self.prog} --help")

    def parse_words(self, words: Sequence[str]) -> argparse.Namespace:
        """The arguments; options and overrides may stand in any order.

        Raises:
            UserError: an unknown option, or a missing or surplus word.
        """
        arguments, rest = self.parse_known_intermixed_args(words)
        if rest:
            options = [option for option in self._option_string_actions if option.startswith("--")]
            remedy = hint(rest[0], options) if rest[0].startswith("-") else f"see {self.prog} --help"
            raise UserError(f"unknown argument '{rest[0]}'; {remedy}")
        return arguments


def add_config_arguments(parser: argparse.ArgumentParser, *, overrides: bool = True) -> None:
    """What every command that composes a config takes: overrides, ``--config-dir`` and ``--trust``."""
    if overrides:
        text = "group=option or key=value, as network=shared_trunk optimizer.lr=1e-3 total_frames=1M"
        parser.add_argument("overrides", nargs="*", metavar="OVERRIDE", help=text)
    text = "a folder with options of your own, as network/my_net.yaml"
    parser.add_argument("--config-dir", type=Path, metavar="DIR", help=text)
    text = "a package that _target_ may name besides qframe, torch.nn and torch.optim; may be repeated"
    parser.add_argument("--trust", action="append", default=[], metavar="PREFIX", help=text)


def whole_number(text: str) -> int:
    """A word that stands for an integer, written as in a config.

    >>> whole_number("1e3")
    1000
    """
    number = integer(text)
    if number is None:
        raise argparse.ArgumentTypeError(f"expected an integer (as 1000, 1e6, 50k or 1M), got '{text}'")
    return number
