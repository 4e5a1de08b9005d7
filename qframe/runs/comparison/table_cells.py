"""The cells of a comparison's table, on the screen and on the page."""

from math import isfinite

from qframe.runs.comparison.results import EnvironmentResult, GroupResult


def group_row(result: GroupResult) -> tuple[str, ...]:
    """A group's row in the table, without its label."""
    low, high = result.scores.min(), result.scores.max()
    reached, count = result.reached, len(result.scores)
    when = ("", "", "")
    if reached is not None:
        when = (f"{reached.runs}/{count}", number(reached.frames), number(reached.seconds))
    return (str(count), f"{result.iqm:.1f}", interval(result.interval), f"{low:.1f} … {high:.1f}", *when)


def headers(result: EnvironmentResult, score: str) -> tuple[str, ...]:
    """The columns of that table."""
    goal = "return" if result.threshold is None else f"{result.threshold:.1f}"
    return ("group", "runs", f"IQM of {score}", "95 % interval", "range", f"reached {goal}", "frames to it", "seconds")


def interval(bounds: tuple[float, float] | None, digits: int = 1) -> str:
    """An interval; a dash for a single run, which has none."""
    return "–" if bounds is None else f"[{bounds[0]:.{digits}f}, {bounds[1]:.{digits}f}]"


def number(value: float) -> str:
    """Frames or seconds; a dash if they are infinite."""
    return f"{value:,.0f}" if isfinite(value) else "–"
