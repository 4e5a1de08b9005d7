"""The cells of a comparison's table, on the screen and on the page."""

from collections.abc import Callable
from math import isfinite

from qframe.formatting import format_score
from qframe.runs.comparison.results import EnvironmentResult, GroupResult


def group_row(result: GroupResult) -> tuple[str, ...]:
    """A group's row in the table, without its label."""
    low, high = result.scores.min(), result.scores.max()
    reached, count = result.reached, len(result.scores)
    when = ("", "", "")
    if reached is not None:
        when = (f"{reached.runs}/{count}", number(reached.frames), number(reached.seconds))
    spread = f"{format_score(low)} … {format_score(high)}"
    return (str(count), format_score(result.iqm), interval(result.interval), spread, *when)


def headers(result: EnvironmentResult, score: str) -> tuple[str, ...]:
    """The headers of the table whose rows :func:`group_row` gives."""
    goal = "return" if result.threshold is None else format_score(result.threshold)
    return ("group", "runs", f"IQM of {score}", "95 % interval", "range", f"reached {goal}", "frames to it", "seconds")


def interval(bounds: tuple[float, float] | None, show: Callable[[float], str] = format_score) -> str:
    """An interval; a dash for a single run, which has none."""
    return "–" if bounds is None else f"[{show(bounds[0])}, {show(bounds[1])}]"


def probability(value: float) -> str:
    """A probability in two decimals."""
    return f"{value:.2f}"


def number(value: float) -> str:
    """Frames or seconds; a dash if they are infinite."""
    return f"{value:,.0f}" if isfinite(value) else "–"


def share(value: float | None) -> str:
    """A normalised score; a dash where there is none."""
    return "–" if value is None else f"{value:.2f}"
