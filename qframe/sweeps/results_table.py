"""The tables that a sweep ends with: its jobs and their means over seeds, best first, and the next commands."""

import shlex
import sys
from collections import defaultdict
from collections.abc import Iterable, Mapping
from math import isfinite
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console, Group
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from qframe.formatting import format_mean, format_path, format_score
from qframe.runs.folder import job_number
from qframe.runs.swept import Swept
from qframe.sweeps.folder import DONE, SweepFolder
from qframe.sweeps.objective import TITLES, objective

Row = tuple[Mapping[str, Any], float | None]
"""A job's summary and its objective."""


def print_results(folder: SweepFolder, name: str) -> list[str]:
    """Print the tables of all jobs that have started, and the commands that compare them, show or resume the sweep.

    Args:
        folder: the sweep's.
        name: of the objective.

    Returns:
        The statuses of the jobs that have started.
    """
    folder = SweepFolder(folder.path)
    summaries, every = folder.summaries(), folder.earlier()
    swept = Swept.among([*every.values()] or [summary.get("overrides", []) for summary in summaries.values()])
    results = {path: (summary, objective(path, name)) for path, summary in summaries.items()}
    if results:
        screen().print(results_table(results, swept, TITLES[name]))
    left = [number for number in every if folder.summary(number).get("status") not in (*DONE, "refused")]
    place = shlex.quote(format_path(folder.path))
    note = f"; {len(left)} of {len(every)} jobs are left: qframe resume {place}" if left else ""
    print(f"sweep folder  {format_path(folder.path)}{note}")
    if any(score is not None for _, score in results.values()):
        print(f"compare       qframe compare {place}\nTensorBoard   tensorboard --logdir {place}")
    return [str(summary.get("status", "unknown")) for summary in summaries.values()]


def results_table(results: Mapping[Path, Row], swept: Swept, title: str) -> Group:
    """One row per job, best first; the means over seeds; and the reasons of the jobs without a result.

    Args:
        results: by folder.
        swept: the keys in which the jobs differ.
        title: of the objective's column.
    """
    table, reasons = job_table(swept, "status", title, "frames"), defaultdict(list)
    for folder, (summary, score) in sorted(results.items(), key=lambda item: _rank(item[1][1])):
        frames, status, number = summary.get("frames"), str(summary.get("status", "new")), _number(folder)
        values = map(escape, swept.values(summary.get("overrides", [])))
        table.add_row(number, *values, status, format_score(score), "" if frames is None else f"{frames:,}")
        reason = " ".join(str(summary.get("reason") or summary.get("error") or "").split())
        if reason and status != "stopped":
            reasons[f"{status}: {reason}"].append(number)
    lines = (f"{'job' if len(jobs) == 1 else 'jobs'} {', '.join(jobs)} {reason}" for reason, jobs in reasons.items())
    return Group(table, *_means(results, swept, title), *map(Text, lines))


def _means(results: Mapping[Path, Row], swept: Swept, title: str) -> Iterable[Table]:
    """The table of means over seeds, if there are several seeds of the same job."""
    others = Swept(tuple(key for key in swept.keys if key != "seed"))
    found: dict[tuple[str, ...], list[float]] = defaultdict(list)
    for summary, score in results.values():
        if score is not None and isfinite(score):
            found[tuple(others.values(summary.get("overrides", [])))].append(score)
    if "seed" not in swept.keys or max(map(len, found.values()), default=0) < 2:
        return
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for header in others.headers:
        table.add_column(escape(header), overflow="fold")
    for header in ("seeds", f"mean {title}", "range"):
        table.add_column(header, no_wrap=True, justify="right")
    for values, scores in sorted(found.items(), key=lambda item: -fmean(item[1])):
        mean = format_mean(fmean(scores), stdev(scores)) if len(scores) > 1 else format_score(scores[0])
        low, high = format_score(min(scores)), format_score(max(scores))
        table.add_row(*map(escape, values), str(len(scores)), mean, f"{low} … {high}")
    yield table


def job_table(swept: Swept, *columns: str, title: str | None = None) -> Table:
    """An empty table of jobs, a column per swept key; on a narrow screen values wrap, and numbers do not."""
    table = Table("job", title=title, title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
    for header in swept.headers:
        table.add_column(escape(header), overflow="fold")
    for column in columns:
        table.add_column(column, no_wrap=True, justify="left" if column == "status" else "right")
    return table


def screen() -> Console:
    """Standard output; 200 columns wide if it is not a terminal."""
    return Console(width=None if sys.stdout.isatty() else 200)


def _number(folder: Path) -> str:
    number = job_number(folder.name)
    return folder.name if number is None else str(number)


def _rank(score: float | None) -> float:
    """Best first, jobs without a score last."""
    return -score if score is not None and isfinite(score) else float("inf")
