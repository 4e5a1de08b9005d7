"""The plots of ``qframe compare`` as SVG: learning curves with quartiles, scores with intervals, performance profiles.

They need no other package, follow the page's light or dark colours, and scale with its width.
"""

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from math import ceil, floor, isfinite, log10
from pathlib import Path
from typing import NamedTuple

from qframe.formatting import format_score
from qframe.runs.comparison.results import EnvironmentResult, GroupResult
from qframe.runs.statistics import interquartile_mean

WIDTH = 428
LEFT, RIGHT, TOP, BOTTOM = 54, 408, 14, 192  # the frame of a plot
LINE = 16
"""Height of a line of the legend."""
LONGEST = 48  # characters of a label that fit beside a number of runs
LIGHT = (
    "#1f77b4", "#d95f02", "#2ca02c", "#d62728", "#9467bd", "#8c564b", "#c2559d", "#6b6b6b", "#8f8f00", "#0f8fa3",
)  # fmt: skip
DARK = (
    "#6baed6", "#fd8d3c", "#74c476", "#ff7b6b", "#b9a3e3", "#c8a296", "#f4a6d7", "#c7c7c7", "#d6d67a", "#7fdbe8",
)  # fmt: skip
COLOURS = (
    ":root { color-scheme: light dark; "
    + "--text: #1c1c1c; --weak: #666; --line: #d8d8d8; --ground: #fff; --link: #0b57d0; "
    + "".join(f"--c{index}: {colour}; " for index, colour in enumerate(LIGHT))
    + "}\n@media (prefers-color-scheme: dark) { :root { --text: #e8e8e8; --weak: #a8a8a8; --line: #444; "
    + "--ground: #17181a; --link: #8ab4f8; "
    + "".join(f"--c{index}: {colour}; " for index, colour in enumerate(DARK))
    + "} }\nsvg { font: 12px system-ui, sans-serif; } svg text { fill: var(--text); }\n"
    + "svg .weak { fill: var(--weak); } svg .over { stroke: var(--ground); stroke-width: 4; paint-order: stroke; }\n"
    + "svg .grid { stroke: var(--line); stroke-width: 1; } svg .goal { stroke: var(--weak); stroke-dasharray: 2 3; }\n"
    + "svg path { fill: none; stroke-width: 2; stroke-linejoin: round; } svg .band { stroke: none; opacity: .2; }\n"
    + "svg .interval { stroke-width: 6; opacity: .4; } svg .mean { stroke-width: 3; }\n"
    + "".join(
        f".c{index} {{ stroke: var(--c{index}); }} .c{index}.band, .c{index}.dot {{ fill: var(--c{index}); }}\n"
        for index in range(len(LIGHT))
    )
)
"""The style of the plots, in the page or in a file of its own."""

Colours = Mapping[str, int]
Points = Iterable[tuple[float, float]]


class Plot(NamedTuple):
    """One plot: its environment, its kind, a caption, and the SVG without its style."""

    environment: str
    kind: str
    caption: str
    svg: str


def draw_plots(results: Sequence[EnvironmentResult], score: str) -> list[Plot]:
    """Three plots per environment; a group has the same colour in all of them."""
    labels = dict.fromkeys(found.group.label for result in results for found in result.groups)
    colours = {label: index for index, label in enumerate(labels)}
    drawn = []
    for result in results:
        for kind, draw in (("curves", _curves), ("scores", _scores), ("profile", _profile)):
            caption, svg = draw(result, colours, score)
            drawn.append(Plot(result.environment, kind, caption, svg))
    return drawn


def write_plots(folder: Path, plots: Sequence[Plot]) -> None:
    """Write every plot as a file of its own, such as ``curves-0.svg``."""
    numbers = {name: number for number, name in enumerate(dict.fromkeys(plot.environment for plot in plots))}
    for plot in plots:
        head, _, rest = plot.svg.partition(">")
        style = f"<style>{COLOURS}\nsvg {{ background: var(--ground); }}</style>"
        (folder / f"{plot.kind}-{numbers[plot.environment]}.svg").write_text(f"{head}>{style}{rest}", encoding="utf-8")


class _Axes:
    """A frame with a grid: turns values into places of the picture.

    Args:
        x: lowest and highest value.
        y: lowest and highest value; None for a plot of rows.
        bottom: of the frame.
    """

    def __init__(self, x: tuple[float, float], y: tuple[float, float] | None, bottom: float = BOTTOM) -> None:
        self._x, self._y, self._bottom = x, y, bottom
        self.parts: list[str] = []
        for value in ticks(*x):
            at = self.x(value)
            self.add("line", style="grid", x1=at, x2=at, y1=TOP, y2=bottom)
            self.write(_short(value), at, bottom + 15, anchor="middle", style="weak")
        for value in ticks(*y) if y else ():
            at = self.y(value)
            self.add("line", style="grid", x1=LEFT, x2=RIGHT, y1=at, y2=at)
            self.write(_short(value), LEFT - 6, at + 4, anchor="end", style="weak")

    def add(self, tag: str, text: str | None = None, *, style: str = "", **attributes: float | str) -> None:
        """Add an element with a class."""
        shown = {"class": style} | attributes if style else attributes
        listed = " ".join(
            f'{key.replace("_", "-")}="{value if isinstance(value, str) else f"{value:.1f}"}"'
            for key, value in shown.items()
        )
        self.parts.append(f"<{tag} {listed} />" if text is None else f"<{tag} {listed}>{escape(text)}</{tag}>")

    def write(self, text: str, x: float, y: float, *, anchor: str = "start", style: str = "") -> None:
        """Add a text."""
        self.add("text", text, style=style, x=x, y=y, text_anchor=anchor)

    def x(self, value: float) -> float:
        """The place of a value from left to right."""
        low, high = self._x
        return LEFT + (RIGHT - LEFT) * (value - low) / ((high - low) or 1)

    def y(self, value: float) -> float:
        """The place of a value from top to bottom."""
        low, high = self._y or (0.0, 1.0)
        return self._bottom - (self._bottom - TOP) * (value - low) / ((high - low) or 1)

    def line(self, points: Points, style: str) -> None:
        """Add a curve; a single point is a dot."""
        placed = [(self.x(x), self.y(y)) for x, y in points]
        if len(placed) == 1:
            self.add("circle", style=f"{style} dot", cx=placed[0][0], cy=placed[0][1], r=3)
        elif placed:
            self.add("path", style=style, d=f"M{_joined(placed)}")

    def band(self, low: Points, high: Points, style: str) -> None:
        """Fill the area between two curves."""
        around = [(self.x(x), self.y(y)) for x, y in [*low, *reversed(list(high))]]
        self.add("path", style=f"{style} band", d=f"M{_joined(around)}Z")

    def goal(self, value: float) -> None:
        """A dotted line at the return to reach, with its value."""
        at = self.y(value)
        self.add("line", style="goal", x1=LEFT, x2=RIGHT, y1=at, y2=at)
        self.write(f"threshold {format_score(value)}", LEFT + 4, at - 4, style="weak over")

    def svg(self, x_label: str, legend: Sequence[tuple[int, str]], title: str) -> str:
        """The whole picture, with a legend of colours and labels below it."""
        y = self._bottom + 32
        self.write(_cut(x_label), (LEFT + RIGHT) / 2, y, anchor="middle")
        for colour, label in legend:
            y += LINE
            self.add("path", style=_style(colour), d=f"M{LEFT},{y}h18")
            self.write(label, LEFT + 24, y + 4)
        opening = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {y + 14:.0f}" role="img" '
        return f'{opening}aria-label="{escape(title)}">{"".join(self.parts)}</svg>'


def ticks(low: float, high: float) -> list[float]:
    """Round numbers from ``low`` to ``high``, about five of them.

    >>> ticks(0, 500), ticks(0.1, 0.29)
    ([0.0, 100.0, 200.0, 300.0, 400.0, 500.0], [0.1, 0.15, 0.2, 0.25])
    """
    span = high - low
    if not (isfinite(span) and span > 0):
        return [low] if isfinite(low) else []
    raw = span / 5
    size = 10.0 ** floor(log10(raw))
    step = min((factor * size for factor in (1, 2, 2.5, 5, 10)), key=lambda step: abs(step - raw))
    digits = max(0, 2 - floor(log10(step)))
    first, last = ceil(low / step - 1e-9), floor(high / step + 1e-9)
    return [round(number * step, digits) for number in range(first, last + 1)]


def _curves(result: EnvironmentResult, colours: Colours, score: str) -> tuple[str, str]:
    drawn = [found for found in result.groups if len(found.curves.frames)]
    bounds = [bound for found in drawn for quartile in found.curves.quartiles for bound in quartile]
    bounds += [] if result.threshold is None else [result.threshold]
    frames = [frame for found in drawn for frame in found.curves.frames]
    axes = _Axes((0.0, max(frames, default=1.0)), _padded(bounds))
    for found in drawn:
        at, returns = found.curves
        low, high = found.curves.quartiles
        style = _style(colours[found.group.label])
        axes.band(zip(at, low, strict=True), zip(at, high, strict=True), style)
        axes.line(((x, interquartile_mean(column)) for x, column in zip(at, returns.T, strict=True)), style)
    if result.threshold is not None:
        axes.goal(result.threshold)
    caption = "learning curves: interquartile mean over runs, band from the lower to the upper quartile"
    return caption, axes.svg("frames", _legend(drawn, colours), f"{result.environment}: {caption}")


def _scores(result: EnvironmentResult, colours: Colours, score: str) -> tuple[str, str]:
    row, every = 34, [float(value) for found in result.groups for value in found.scores[:, 0]]
    bounds = [bound for found in result.groups for bound in found.interval or ()]
    axes = _Axes(_padded([*every, *bounds]), None, bottom=TOP + row * len(result.groups) + 6)
    for index, found in enumerate(result.groups):
        y, style = TOP + row * index + 24, _style(colours[found.group.label])
        low, high = found.interval or (found.iqm, found.iqm)
        axes.write(_label(found), LEFT + 4, y - 10)
        axes.add("path", style=f"{style} interval", d=f"M{axes.x(low):.1f},{y}H{axes.x(high):.1f}")
        axes.add("path", style=f"{style} mean", d=f"M{axes.x(found.iqm):.1f},{y - 6}v12")
        for value in found.scores[:, 0]:
            axes.add("circle", style=f"{style} dot", cx=axes.x(float(value)), cy=y, r=2.5)
    caption = "interquartile mean, its 95 % interval by stratified bootstrap, and every run"
    return caption, axes.svg(score, (), f"{result.environment}: {caption}")


def _profile(result: EnvironmentResult, colours: Colours, score: str) -> tuple[str, str]:
    grid, fractions = result.profile()
    axes = _Axes((float(grid[0]), float(grid[-1])), (0.0, 1.0))
    for found, fraction in zip(result.groups, fractions, strict=True):
        axes.line(zip(grid, fraction, strict=True), _style(colours[found.group.label]))
    caption = "performance profiles: the fraction of runs with a score above each value"
    return caption, axes.svg(f"{score} above", _legend(result.groups, colours), f"{result.environment}: {caption}")


def _legend(groups: Iterable[GroupResult], colours: Colours) -> list[tuple[int, str]]:
    return [(colours[found.group.label], _label(found)) for found in groups]


def _label(found: GroupResult) -> str:
    return f"{_cut(found.group.label)} ({len(found.scores)})"


def _cut(text: str) -> str:
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"


def _style(colour: int) -> str:
    return f"c{colour % len(LIGHT)}"


def _padded(values: Sequence[float]) -> tuple[float, float]:
    low, high = min(values, default=0.0), max(values, default=1.0)
    margin = 0.05 * (high - low) or 0.5
    return low - margin, high + margin


def _joined(points: Iterable[tuple[float, float]]) -> str:
    return "L".join(f"{x:.1f},{y:.1f}" for x, y in points)


def _short(value: float) -> str:
    for size, unit in ((1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:g}{unit}"
    return f"{value:g}"

