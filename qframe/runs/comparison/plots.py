"""The plots of ``qframe compare``: learning curves with quartiles, scores with intervals, performance profiles."""

import importlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from qframe.runs.comparison.results import EnvironmentResult, GroupResult
from qframe.runs.statistics import interquartile_mean

Colours = Mapping[str, Any]
STYLE = {"axes.spines.top": False, "axes.spines.right": False, "axes.grid": True, "grid.alpha": 0.3, "font.size": 10}


def write_plots(folder: Path, results: Sequence[EnvironmentResult], score: str) -> list[tuple[str, Path]]:
    """Write a PNG per environment and kind of plot.

    Returns:
        The caption of each plot, and its file.
    """
    matplotlib: Any = importlib.import_module("matplotlib")
    figure_class: Any = importlib.import_module("matplotlib.figure").Figure
    written = []
    labels = list(dict.fromkeys(found.group.label for result in results for found in result.groups))
    palette = matplotlib.colormaps["tab10" if len(labels) <= 10 else "tab20"].colors
    colours = {label: palette[index % len(palette)] for index, label in enumerate(labels)}
    with matplotlib.rc_context(STYLE):
        for number, result in enumerate(results):
            for kind, draw in (("curves", _curves), ("scores", _scores), ("profile", _profile)):
                height = 4.2 if kind != "scores" else 1.2 + 0.45 * len(result.groups)
                figure = figure_class(figsize=(8, height), layout="constrained")
                axes = figure.subplots()
                caption = draw(axes, result, colours, score)
                axes.set_title(plain(result.environment), loc="left")
                path = folder / f"{kind}-{number}.png"
                figure.savefig(path, dpi=110)
                written.append((f"{result.environment}: {caption}", path))
    return written


def plain(text: str) -> str:
    """A name that matplotlib shows unchanged: without mathematics, and without a leading underscore, which hides it."""
    text = text if len(text) <= 90 else f"{text[:89]}…"
    return text.replace("$", r"\$") if not text.startswith("_") else f" {text}".replace("$", r"\$")


def _curves(axes: Any, result: EnvironmentResult, colours: Colours, score: str) -> str:
    for found in result.groups:
        frames, returns = found.curves
        if not len(frames):
            continue
        middle = [interquartile_mean(column) for column in returns.T]
        low, high = found.curves.quartiles
        colour, marker = colours[found.group.label], "." if len(frames) < 3 else ""
        axes.plot(frames, middle, color=colour, label=_label(found), marker=marker)
        axes.fill_between(frames, low, high, color=colour, alpha=0.2, linewidth=0)
    if result.threshold is not None:
        axes.axhline(result.threshold, color="grey", linewidth=1, linestyle=":")
    axes.set_xlabel("frames")
    axes.set_ylabel("mean greedy return of an evaluation")
    axes.xaxis.set_major_formatter(_thousands)
    _legend(axes)
    return "learning curves: interquartile mean over runs, band from the lower to the upper quartile"


def _scores(axes: Any, result: EnvironmentResult, colours: Colours, score: str) -> str:
    for index, found in enumerate(result.groups):
        low, high = found.interval or (found.iqm, found.iqm)
        colour = colours[found.group.label]
        axes.plot([low, high], [index, index], color=colour, linewidth=6, alpha=0.4, solid_capstyle="butt")
        axes.plot([found.iqm], [index], color=colour, marker="|", markersize=16, markeredgewidth=3)
        axes.plot(found.scores[:, 0], np.full(len(found.scores), index), "k.", markersize=4, alpha=0.6)
    axes.set_yticks(range(len(result.groups)), [_label(found) for found in result.groups])
    axes.set_ylim(len(result.groups) - 0.5, -0.5)
    axes.set_xlabel(plain(score))
    return "interquartile mean, its 95 % interval by stratified bootstrap, and every run"


def _profile(axes: Any, result: EnvironmentResult, colours: Colours, score: str) -> str:
    grid, fractions = result.profile()
    for found, fraction in zip(result.groups, fractions, strict=True):
        axes.plot(grid, fraction, color=colours[found.group.label], label=_label(found), drawstyle="steps-post")
    axes.set_xlabel(plain(f"{score} above"))
    axes.set_ylabel("fraction of runs")
    axes.set_ylim(-0.02, 1.02)
    _legend(axes)
    return "performance profiles"


def _legend(axes: Any) -> None:
    if axes.get_legend_handles_labels()[1]:
        axes.legend(loc="upper left", bbox_to_anchor=(0, -0.16), frameon=False)


def _label(found: GroupResult) -> str:
    return plain(f"{found.group.label} ({len(found.scores)})")


def _thousands(value: float, position: int | None = None) -> str:
    for size, unit in ((1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:g}{unit}"
    return f"{value:g}"
