"""The CSV files of ``qframe compare``: all numbers of the table and the plots, and the data behind them."""

import csv
from collections.abc import Iterable, Sequence
from math import isfinite
from pathlib import Path
from typing import Any

from qframe.runs.comparison.results import EnvironmentResult


def write_csv(folder: Path, results: Sequence[EnvironmentResult], score: str) -> None:
    """Write ``groups.csv``, ``runs.csv``, ``curves.csv`` and ``improvements.csv``."""
    every = [(result, found) for result in results for found in result.groups]
    _write(
        folder / "groups.csv",
        ("environment", "group", "runs", "iqm", "iqm_low", "iqm_high", "threshold", "reached", "frames", "seconds"),
        (
            (result.environment, found.group.label, len(found.scores), found.iqm, *(found.interval or ("", "")),
             "" if result.threshold is None else result.threshold, *(found.reached or ("", "", "")))
            for result, found in every
        ),
    )  # fmt: skip
    _write(
        folder / "runs.csv",
        ("environment", "group", "seed", score, "frames", "wall_seconds", "folder"),
        (
            (result.environment, found.group.label, run.config.get("seed"), run.summary[score],
             run.frames, run.summary.get("wall_seconds", ""), run.path)
            for result, found in every
            for run in found.group.runs
        ),
    )  # fmt: skip
    _write(
        folder / "curves.csv",
        ("environment", "group", "frames", "seed", "eval_episode_return"),
        (
            (result.environment, found.group.label, int(frames), run.config.get("seed"), value)
            for result, found in every
            for run, returns in zip(found.group.runs, found.curves.returns, strict=True)
            for frames, value in zip(found.curves.frames, returns, strict=True)
        ),
    )
    _write(
        folder / "improvements.csv",
        ("environment", "better", "worse", "probability", "low", "high"),
        (
            (result.environment, pair.better, pair.worse, pair.probability, *(pair.interval or ("", "")))
            for result in results
            for pair in result.improvements
        ),
    )


def _write(path: Path, headers: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(headers)
        writer.writerows([_cell(value) for value in row] for row in rows)


def _cell(value: Any) -> Any:
    """A cell: empty for a return never reached; a text that a spreadsheet would read as a formula gets a quote."""
    if isinstance(value, float):
        return repr(float(value)) if isfinite(value) else ""
    return f"'{value}" if isinstance(value, str) and value[:1] in ("=", "+", "-", "@") else value
