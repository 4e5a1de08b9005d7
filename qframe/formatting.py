"""How scores, time spans and paths are written for people."""

import math
import shlex
from pathlib import Path

DISTRIBUTION = "qframe-rl"
"""The name on the package index, where ``qframe`` is somebody else's."""


def format_score(value: float | None) -> str:
    """A return with at least three significant digits and one decimal; ``-`` for None and NaN.

    >>> [format_score(value) for value in (1487.31, 21.0, 0.12, -0.9634, 1e-5, 0.0, None)]
    ['1,487.3', '21.0', '0.120', '-0.963', '1e-05', '0.0', '-']
    """
    if value is None or math.isnan(value):
        return "-"
    return f"{value:.3g}" if 0 < abs(value) < 1e-3 else f"{value:,.{_decimals(value)}f}"


def format_mean(mean: float, std: float) -> str:
    """A mean and a standard deviation, with the decimals of the larger one.

    >>> format_mean(0.12, 0.325)
    '0.120 ± 0.325'
    """
    decimals = _decimals(max(abs(mean), std))
    return f"{mean:,.{decimals}f} ± {std:,.{decimals}f}"


def format_count(number: int, noun: str) -> str:
    """A number and a noun in singular or plural.

    >>> format_count(1, "episode"), format_count(1000, "episode")
    ('1 episode', '1,000 episodes')
    """
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def format_path(path: Path) -> str:
    """A path as a user in the current folder would type it."""
    shown = str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)
    return f"./{shown}" if shown.startswith("-") else shown


def format_command(*words: str | Path) -> str:
    """A command to be pasted into a shell.

    >>> format_command("qframe", "resume", Path("my runs/1"))
    "qframe resume 'my runs/1'"
    """
    return shlex.join(format_path(word) if isinstance(word, Path) else word for word in words)


def format_span(seconds: float) -> str:
    """A time span in its best unit.

    >>> format_span(59), format_span(3600), format_span(400_000)
    ('59 s', '60 min', '5 d')
    """
    for size, unit in ((1, "s"), (60, "min"), (3600, "h"), (86400, "d")):
        if seconds < 100 * size or unit == "d":
            return f"{seconds / size:.0f} {unit}"
    raise AssertionError("unreachable")


def install_command(extra: str) -> str:
    """The command that installs an extra of qframe, from the checkout if there is one."""
    checkout = Path(__file__).resolve().parents[1]
    if not (checkout / "pyproject.toml").is_file():
        return f'pip install "{DISTRIBUTION}[{extra}]"'
    return f'pip install -e "{"." if checkout == Path.cwd() else checkout}[{extra}]"'


def _decimals(value: float) -> int:
    size = abs(value)
    return min(9, max(1, 2 - math.floor(math.log10(size)))) if 0 < size < math.inf else 1
