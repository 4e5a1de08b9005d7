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
from qframe.formatting import format_score, format_span
from qframe.runs.folder import RunFolder
from qframe.runs.swept import Swept
from qframe.sweeps.job_spec import JobSpec
from qframe.sweeps.results_table import job_table, screen

EVERY = 1.0  # seconds between two reads of the jobs' files
NARROW = 80  # columns: a narrower terminal has no room for the speed
TAIL = 16_384  # bytes of metrics.jsonl that hold its last lines


class ProgressBoard:
    """Shows the running jobs with their progress, and the result of every job that ends.

    Args:
        total: jobs to run in this launch; None if unknown.
        swept: the keys in which the jobs differ.
        console: to print to.
    """

    def __init__(self, total: int | None, swept: Swept, console: Console | None = None) -> None:
        self._console = console or screen()
        self._total, self._swept = total, swept
        self._statuses: Counter[str] = Counter()
        self._begun: dict[int, tuple[float, float]] = {}  # start of each running job, and share of its frames before
        self._best: tuple[float, str] | None = None
        self._trained = 0.0  # jobs' worth of frames in the jobs that have ended
        self._started = time.monotonic()
        self._looked = 0.0
        self._live = Live(console=self._console, transient=True, auto_refresh=False) if sys.stdout.isatty() else None
        if self._live is not None:
            self._live.start()

    def started(self, job: JobSpec) -> None:
        """A job starts or resumes."""
        self._begun[job.number] = time.monotonic(), _share(job, latest(RunFolder(job.folder).metrics_file))
        if self._live is None:
            self.say(f"job {job.number}  {self._swept.text(job.overrides)}")

    def refresh(self, running: Iterable[JobSpec]) -> None:
        """Show the progress of the running jobs, at most once a second."""
        if self._live is None or time.monotonic() - self._looked < EVERY:
            return
        self._looked = time.monotonic()
        self._live.update(self._table(running), refresh=True)

    def ended(self, job: JobSpec, summary: Mapping[str, Any]) -> None:
        """A job has ended."""
        self._statuses[summary.get("status", "unknown")] += 1
        began, share = self._begun.pop(job.number, (time.monotonic(), 0.0))
        self._trained += 1.0 - share
        overrides = self._swept.text(job.overrides)
        score, reason = summary.get("eval_return_mean"), summary.get("reason")
        if score is not None and (self._best is None or score > self._best[0]):
            self._best = score, f"job {job.number} {overrides}".rstrip()
        is_stopped = summary.get("status") == "stopped"  # the reason is known, and the last line shows how to resume
        result = f"eval_return_mean {format_score(score)}" if score is not None else "" if is_stopped else reason or ""
        ended = sum(self._statuses.values())
        done = f"{ended}/{self._total}" if self._total else str(ended)
        parts = (
            f"{done:>7}  job {job.number}", overrides,
            f"{summary.get('status')} in {time.monotonic() - began:.0f} s", result, self._eta(),
        )  # fmt: skip
        self.say("  ".join(filter(None, parts)))

    def say(self, text: str) -> None:
        """Print a line that stays."""
        self._console.print(text, highlight=False, markup=False, soft_wrap=True)

    def close(self) -> None:
        """Remove the live table."""
        if self._live is not None:
            self._live.stop()

    def _eta(self, running: float = 0.0) -> str:
        """The time left by the speed of this launch; "" where it is unknown.

        Args:
            running: jobs' worth of frames that the running jobs have trained in this launch.
        """
        left = (self._total or 0) - sum(self._statuses.values()) - running
        trained = self._trained + running
        if left <= 0 or trained <= 0:
            return ""
        return f"ETA {format_span(left * (time.monotonic() - self._started) / trained)}"

    def _table(self, running: Iterable[JobSpec]) -> Table:
        speeds = ("frames/s",) if self._console.width >= NARROW else ()
        table, trained = job_table(self._swept, "frames", *speeds, "return", "evaluation"), 0.0
        for job in running:
            last = latest(RunFolder(job.folder).metrics_file)
            share = _share(job, last)
            trained += max(0.0, share - self._begun.get(job.number, (0.0, 0.0))[1])
            speed, returned = last.get("time/frames_per_second"), last.get("train/episode_return")
            shown = ["-" if speed is None else f"{speed:,.0f}"] if speeds else []
            shown += [format_score(returned), format_score(last.get("eval/episode_return"))]
            values = map(escape, self._swept.values(job.overrides))
            table.add_row(str(job.number), *values, f"{int(last.get('frames', 0)):,} {share:4.0%}", *shown)
        ended = f"{sum(self._statuses.values())}" + (f" of {self._total}" if self._total else "")
        counts = ", ".join(f"{number} {status}" for status, number in sorted(self._statuses.items()))
        best = f"best {format_score(self._best[0])}, {self._best[1]}" if self._best else ""
        first = f"{ended} jobs ended" + (f": {counts}" if counts else "")
        table.title = escape("\n".join(filter(None, ("; ".join(filter(None, (first, self._eta(trained)))), best))))
        return table


def _share(job: JobSpec, last: Mapping[str, float]) -> float:
    """The share of its frames that a job has trained, by its last log."""
    return int(last.get("frames", 0)) / (integer(job.config.get("total_frames")) or 1)


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
