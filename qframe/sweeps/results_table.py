"""The table of a sweep's results, printed when it ends, and the columns that it shares with the progress board."""

import sys
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console, Group
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from qframe.formatting import format_path, format_score
from qframe.sweeps.folder import DONE, SweepFolder
from qframe.sweeps.objective import TITLES, objective

Varied = Callable[[Sequence[str]], list[str]]


def print_results(folder: SweepFolder, name: str) -> list[str]:
    """Print the table of all jobs that have started, and the command that resumes the sweep if jobs are left.

    Args:
        folder: the sweep's.
        name: of the objective.

    Returns:
        The statuses of the jobs that have started.
    """
    summaries, every = folder.summaries(), folder.earlier()
    if summaries:
        varied = varied_among([*every.values()] or [summary.get("overrides", []) for summary in summaries.values()])
        objectives = {path: objective(path, name) for path in summaries}
        screen().print(results_table(summaries, varied, objectives, TITLES[name]))
    left = [number for number in every if folder.summary(number).get("status") not in (*DONE, "refused")]
    note = f"; {len(left)} of {len(every)} jobs are left: qframe resume {format_path(folder.path)}" if left else ""
    print(f"sweep folder  {format_path(folder.path)}{note}")
    return [str(summary.get("status", "unknown")) for summary in summaries.values()]


def results_table(
    summaries: Mapping[Path, Mapping[str, Any]], varied: Varied, objectives: Mapping[Path, float | None], title: str
) -> Group:
    """One row per job, with its overrides, status and objective, and below the reasons of the jobs without a result.

    Args:
        summaries: by folder.
        varied: the overrides in which a job differs from the others.
        objectives: by folder; None if there is none.
        title: of the objective's column.
    """
    table, reasons = job_table("status", title, "frames"), defaultdict(list)
    for folder, summary in summaries.items():
        frames, overrides = summary.get("frames"), escape(" ".join(varied(summary.get("overrides", []))))
        status = str(summary.get("status", "new"))
        number = format_score(objectives.get(folder))
        table.add_row(folder.name, overrides, status, number, "" if frames is None else f"{frames:,}")
        reason = " ".join(str(summary.get("reason") or summary.get("error") or "").split())
        if reason and status != "stopped":
            reasons[f"{status}: {reason}"].append(folder.name)
    lines = (f"{'job' if len(jobs) == 1 else 'jobs'} {', '.join(jobs)} {reason}" for reason, jobs in reasons.items())
    return Group(table, *map(Text, lines))


def job_table(*columns: str, title: str | None = None) -> Table:
    """An empty table of jobs; on a narrow screen the overrides wrap, and numbers do not."""
    table = Table("job", title=title, title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
    table.add_column("overrides", overflow="fold", min_width=12)
    for column in columns:
        table.add_column(column, no_wrap=True, justify="left" if column == "status" else "right")
    return table


def varied_among(jobs: Iterable[Sequence[str]]) -> Varied:
    """A function that picks those of a job's overrides that not all jobs share.

    >>> varied_among([["a=1", "seed=1"], ["a=1", "seed=2"]])(["a=1", "seed=2"])
    ['seed=2']
    """
    listed = [set(job) for job in jobs]
    common = set.intersection(*listed) if len(listed) > 1 else set()
    return lambda overrides: [override for override in overrides if override not in common]


def screen() -> Console:
    """Standard output; 200 columns wide if it is not a terminal."""
    return Console(width=None if sys.stdout.isatty() else 200)
