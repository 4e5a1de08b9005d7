"""The progress of a sweep: a live table of the running jobs on a terminal, a line per event otherwise."""

import json
import sys
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.markup import escape
from rich.table import Table

from qframe.config.numbers import integer
from qframe.formatting import format_score
from qframe.runs.folder import RunFolder
from qframe.sweeps.job_spec import JobSpec
from qframe.sweeps.results_table import Varied, job_table, screen

EVERY = 1.0  # seconds between two reads of the jobs' files
NARROW = 80  # columns: a narrower terminal has no room for the speed
TAIL = 16_384  # bytes of metrics.jsonl that hold its last lines


class ProgressBoard:
    """Shows the running jobs with their progress, and the result of every job that ends.

    Args:
        total: jobs to run in this launch; None if unknown.
        varied: the overrides in which a job differs from the others.
        console: to print to.
    """

    def __init__(self, total: int | None, varied: Varied, console: Console | None = None) -> None:
        self._console = console or screen()
        self._total, self._varied = total, varied
        self._statuses: Counter[str] = Counter()
        self._since: dict[int, float] = {}
        self._looked = 0.0
        self._live = Live(console=self._console, transient=True, auto_refresh=False) if sys.stdout.isatty() else None
        if self._live is not None:
            self._live.start()

    def started(self, job: JobSpec) -> None:
        """A job starts or resumes."""
        self._since[job.number] = time.monotonic()
        if self._live is None:
            self.say(f"job {job.number}  {' '.join(self._varied(job.overrides))}")

    def refresh(self, running: Iterable[JobSpec]) -> None:
        """Show the progress of the running jobs, at most once a second."""
        if self._live is None or time.monotonic() - self._looked < EVERY:
            return
        self._looked = time.monotonic()
        self._live.update(self._table(running), refresh=True)

    def ended(self, job: JobSpec, summary: Mapping[str, Any]) -> None:
        """A job has ended."""
        self._statuses[summary.get("status", "unknown")] += 1
        seconds = time.monotonic() - self._since.pop(job.number, time.monotonic())
        overrides = " ".join(self._varied(job.overrides))
        score, reason = summary.get("eval_return_mean"), summary.get("reason")
        is_stopped = summary.get("status") == "stopped"  # the reason is known, and the last line shows how to resume
        shown = "" if is_stopped else str(reason or "")
        result = shown if score is None else f"eval_return_mean {format_score(score)}"
        ended = sum(self._statuses.values())
        done = f"{ended}/{self._total}" if self._total else str(ended)
        self.say(
            f"{done:>7}  job {job.number}  {overrides}  {summary.get('status')} in {seconds:.0f} s  {result}".rstrip()
        )

    def say(self, text: str) -> None:
        """Print a line that stays."""
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
        table = job_table("frames", *speeds, "return", "evaluation", title=title)
        for job in running:
            last = latest(RunFolder(job.folder).metrics_file)
            done, total = int(last.get("frames", 0)), integer(job.config.get("total_frames")) or 1
            frames = f"{done:,} {done / total:4.0%}"
            speed, returned = last.get("time/frames_per_second"), last.get("train/episode_return")
            shown = ["-" if speed is None else f"{speed:,.0f}"] if speeds else []
            shown += [format_score(returned), format_score(last.get("eval/episode_return"))]
            table.add_row(str(job.number), escape(" ".join(self._varied(job.overrides))), frames, *shown)
        return table


def latest(metrics: Path) -> dict[str, float]:
    """The last value of each metric in the last lines of ``metrics.jsonl``; {} if there is no such file."""
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
