"""The exceptions that ``qframe.cli.main`` maps to exit statuses, and the faults of a config, reported all at once.

``UserError`` and ``RunError`` are printed without a traceback (2), ``Stopped`` reports a signal (130 or 143), and any
other exception is a bug of qframe or of the environment (1).
"""

from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches


class UserError(Exception):
    """A user's mistake, found before anything runs."""


class RunError(ValueError):
    """A run cannot continue for a reason outside qframe: its settings, its environment, or this machine."""


class Stopped(BaseException):
    """A signal stopped a run or a sweep. Not an ``Exception``: nothing failed, so no handler of failures may catch it.

    Args:
        number: the signal's number.
        message: what was saved, and how to resume.
    """

    def __init__(self, number: int, message: str) -> None:
        super().__init__(number, message)
        self.number = number

    def __str__(self) -> str:
        return self.args[1]


@dataclass(frozen=True)
class Fault:
    """One mistake in a configuration.

    Args:
        where: the place in the config, such as ``env.num_envs``.
        message: what is wrong, and the remedy or the nearest valid name.
        source: the file that sets the value, or "command line"; empty if unknown.
        unknown: a name that does not exist (key, option, target): wrong in any combination, so it stops a whole sweep.
    """

    where: str
    message: str
    source: str = ""
    unknown: bool = False

    def __str__(self) -> str:
        place = f"{self.where}: " if self.where else ""
        return f"{place}{self.message}" + (f"  [{self.source}]" if self.source else "")


class ConfigError(UserError):
    """All faults of one configuration.

    >>> print(ConfigError([Fault("seed", "expected an integer ≥ 0, got -1", "command line")]))
    seed: expected an integer ≥ 0, got -1  [command line]
    """

    def __init__(self, faults: Iterable[Fault]) -> None:
        self.faults = tuple(dict.fromkeys(faults))
        super().__init__(self.faults)

    def __str__(self) -> str:
        if len(self.faults) == 1:
            return str(self.faults[0])
        return "\n".join([f"{len(self.faults)} faults in the configuration", *(f"  {fault}" for fault in self.faults)])


def nearest(name: str, options: Iterable[str]) -> str | None:
    """The option most similar to ``name``, or None if none is similar.

    >>> nearest("num_env", ["num_envs", "id", "seed"])
    'num_envs'
    """
    names = {option.lower(): option for option in options}
    close = get_close_matches(name.lower(), names, n=1, cutoff=0.5)
    return names[close[0]] if close else None


def hint(name: str, options: Iterable[str], prefix: str = "") -> str:
    """The remedy for a wrong name: the nearest valid one, and all of them if the list is short.

    >>> hint("quantil", ["scalar", "quantile"])
    "nearest is 'quantile' (valid: quantile, scalar)"
    """
    options = sorted(set(options))
    listed = ", ".join(options) or "none"
    close = nearest(name, options)
    if close is None:
        return f"valid: {listed}"
    return f"nearest is '{prefix}{close}'" + (f" (valid: {listed})" if len(options) <= 8 else "")
