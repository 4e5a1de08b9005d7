"""What a sweep shows: a live table on a terminal, a line per event in a pipe, and the results at the end."""

import json
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console, Group
from rich.live import Live
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from qframe.config.numbers import integer
from qframe.runs.folder import RunFolder
from qframe.sweeps.job import JobSpec

EVERY = 1.0  # seconds between looks at the jobs' files
NARROW = 80  # columns of a terminal that are too few for the speed
TAIL = 16_384  # bytes of metrics.jsonl that hold its last lines


class SweepBoard:
    """Tells which jobs run, how far they are, and what became of the others.

    Args:
        total: jobs to run in this launch; None where that is not known.
        varied: the overrides in which a job differs from the others.
        console: where it is shown.
    """

    def __init__(
        self, total: int | None, varied: Callable[[Sequence[str]], Sequence[str]], console: Console | None = None
    ) -> None:
        self._console = console or screen()
        self._total, self._varied = total, varied
        self._statuses: Counter[str] = Counter()
        self._since: dict[int, float] = {}
        self._looked = 0.0
        self._live = Live(console=self._console, transient=True, auto_refresh=False) if sys.stdout.isatty() else None
        if self._live is not None:
            self._live.start()

    def started(self, job: JobSpec) -> None:
        """A job begins or goes on."""
        self._since[job.number] = time.monotonic()
        if self._live is None:
            self.say(f"job {job.number}  {' '.join(self._varied(job.overrides))}")

    def refresh(self, running: Iterable[JobSpec]) -> None:
        """Show how far the running jobs are, now and then."""
        if self._live is None or time.monotonic() - self._looked < EVERY:
            return
        self._looked = time.monotonic()
        self._live.update(self._table(running), refresh=True)

    def ended(self, job: JobSpec, summary: Mapping[str, Any]) -> None:
        """A job has ended."""
        self._statuses[summary.get("status", "unknown")] += 1
        seconds = time.monotonic() - self._since.pop(job.number, time.monotonic())
        words = " ".join(self._varied(job.overrides))
        score, reason = summary.get("eval_return_mean"), summary.get("reason")
        is_stopped = summary.get("status") == "stopped"  # why is known, and the last line says how to go on
        told = f"eval_return_mean {score:.2f}" if score is not None else "" if is_stopped else str(reason or "")
        ended = sum(self._statuses.values())
        done = f"{ended}/{self._total}" if self._total else str(ended)
        self.say(f"{done:>7}  job {job.number}  {words}  {summary.get('status')} in {seconds:.0f} s  {told}".rstrip())

    def say(self, text: str) -> None:
        """A line that stays."""
        self._console.print(text, highlight=False, markup=False, soft_wrap=True)

    def close(self) -> None:
        """Remove the live table."""
        if self._live is not None:
            self._live.stop()

    def _table(self, running: Iterable[JobSpec]) -> Table:
        counts = ", ".join(f"{number} {status}" for status, number in sorted(self._statuses.items()))
        ended = f"{sum(self._statuses.values())}" + (f" of {self._total}" if self._total else "")
        title = f"{ended} jobs ended" + (f": {counts}" if counts else "")
        speeds = ("frames/s",) if self._console.width >= NARROW else ()
        table = _table("frames", *speeds, "return", "evaluation", title=title)
        for job in running:
            last = latest(RunFolder(job.folder).metrics_file)
            done, total = int(last.get("frames", 0)), integer(job.config.get("total_frames")) or 1
            frames = f"{done:,} {done / total:4.0%}"
            speed, returned = last.get("time/frames_per_second"), last.get("train/episode_return")
            shown = [_number(speed, 0)] if speeds else []
            shown += [_number(returned, 1), _number(last.get("eval/episode_return"), 1)]
            table.add_row(str(job.number), escape(" ".join(self._varied(job.overrides))), frames, *shown)
        return table


def screen() -> Console:
    """Standard output; of a fixed width where it is no terminal."""
    return Console(width=None if sys.stdout.isatty() else 200)


def latest(metrics: Path) -> dict[str, float]:
    """The last value of each metric in the last lines of ``metrics.jsonl``; {} where there is none."""
    if not metrics.is_file():
        return {}
    with metrics.open("rb") as file:
        file.seek(max(0, metrics.stat().st_size - TAIL))
        lines = file.read().decode(errors="replace").splitlines()
    values: dict[str, float] = {}
    for line in lines:
        try:
            values |= json.loads(line)
        except ValueError:  # cut off at either end
            continue
    return values


def results(
    summaries: Mapping[Path, Mapping[str, Any]],
    varied: Callable[[Sequence[str]], Sequence[str]],
    objectives: Mapping[Path, float | None],
    name: str,
) -> Group:
    """One row a job: what it was, what became of it, its objective; and why it has none.

    Args:
        summaries: by folder.
        varied: the overrides in which a job differs from the others.
        objectives: by folder; None where there is none.
        name: of the objective.
    """
    table, reasons = _table("status", name, "frames"), defaultdict(list)
    for folder, summary in summaries.items():
        frames, words = summary.get("frames"), escape(" ".join(varied(summary.get("overrides", []))))
        shown, status = "" if frames is None else f"{frames:,}", str(summary.get("status", "new"))
        table.add_row(folder.name, words, status, _number(objectives.get(folder), 2), shown)
        reason = " ".join(str(summary.get("reason") or summary.get("error") or "").split())
        if reason and status != "stopped":
            reasons[f"{status}: {reason}"].append(folder.name)
    told = (f"{'job' if len(jobs) == 1 else 'jobs'} {', '.join(jobs)} {why}" for why, jobs in reasons.items())
    return Group(table, *map(Text, told))


def _table(*columns: str, title: str | None = None) -> Table:
    """Of jobs; where it is narrow, what was overridden is broken into lines and numbers stay whole."""
    table = Table("job", title=title, title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
    table.add_column("overrides", overflow="fold", min_width=12)
    for column in columns:
        table.add_column(column, no_wrap=True, justify="left" if column == "status" else "right")
    return table


def varied_among(jobs: Iterable[Sequence[str]]) -> Callable[[Sequence[str]], list[str]]:
    """Which of a job's overrides the other jobs do not have.

    >>> varied_among([["a=1", "seed=1"], ["a=1", "seed=2"]])(["a=1", "seed=2"])
    ['seed=2']
    """
    listed = [set(job) for job in jobs]
    common = set.intersection(*listed) if len(listed) > 1 else set()
    return lambda overrides: [override for override in overrides if override not in common]


def _number(value: float | None, digits: int) -> str:
    return "–" if value is None or value != value else f"{value:,.{digits}f}"
