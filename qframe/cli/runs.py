"""``qframe runs``: list runs and sweeps with their status, frames, score and age."""

import argparse
import json
import time
from collections import Counter
from collections.abc import Callable, Sequence
from html import escape
from pathlib import Path
from typing import Any

from qframe.cli.arguments import STATUSES
from qframe.cli.tables import OUTPUTS, matching, named_runs, print_table
from qframe.errors import UserError, hint
from qframe.formatting import format_path, format_score, format_span
from qframe.runs.folder import RunFolder, environment_name, planned_jobs
from qframe.runs.swept import Swept

ORDERS: dict[str, Callable[[list[RunFolder]], Any]] = {
    "age": lambda runs: -max(run.changed for run in runs),
    "score": lambda runs: -max((run.score for run in runs if run.score is not None), default=float("-inf")),
    "frames": lambda runs: -sum(run.frames for run in runs),
    "status": lambda runs: sorted(run.status for run in runs),
    "path": lambda runs: str(runs[0].path),
}


def run(arguments: argparse.Namespace) -> int:
    """Print the list.

    Raises:
        UserError: there is no such folder, order or status.
    """
    if arguments.sort not in ORDERS:
        raise UserError(f"--sort: unknown order '{arguments.sort}'; {hint(arguments.sort, ORDERS)}")
    folders = arguments.folders or [OUTPUTS]
    if not arguments.folders and not OUTPUTS.is_dir():
        raise UserError("there is no folder outputs/ here; train first, or name a folder: qframe runs FOLDER")
    runs = _filtered(named_runs(folders), arguments.status, arguments.where)
    if arguments.json:
        for found in sorted(runs, key=lambda found: ORDERS[arguments.sort]([found])):
            print(json.dumps(facts(found)))
        return 0
    grouped: dict[Path, list[RunFolder]] = {}
    for found in runs:
        is_grouped = found.is_job and not arguments.jobs and found.path.parent not in folders
        grouped.setdefault(found.path.parent if is_grouped else found.path, []).append(found)
    ordered = sorted(grouped.items(), key=lambda item: ORDERS[arguments.sort](item[1]))
    is_whole = arguments.status is None and not arguments.where
    sweeps = {path: [run for run in runs if run.path.parent == path] for path in {run.path.parent for run in runs}}
    swept = {path: _swept(path, jobs) for path, jobs in sweeps.items()}
    rows = [
        _run_row(runs[0], swept) if runs[0].path == path else _sweep_row(path, runs, is_whole=is_whole)
        for path, runs in ordered
    ]
    print_table(("status", "frames", "score", "age", "run", "folder"), rows, numbers=("frames", "score", "age"))
    if not rows:
        print("no run matches")
    return 0


def _filtered(runs: list[RunFolder], statuses: str | None, conditions: Sequence[str]) -> list[RunFolder]:
    wanted = None if statuses is None else statuses.split(",")
    there = {run.status for run in runs}
    for status in wanted or ():
        if status not in (*STATUSES, *there):
            raise UserError(f"--status: unknown status '{status}'; {hint(status, (*STATUSES, *there))}")
    runs = [run for run in runs if wanted is None or run.status in wanted]
    return matching(runs, conditions)


def _swept(path: Path, runs: Sequence[RunFolder]) -> Swept:
    """The keys in which the jobs of a sweep's folder differ."""
    return Swept.among([*planned_jobs(path).values()] or [run.overrides for run in runs])


def _run_row(run: RunFolder, swept: dict[Path, Swept]) -> tuple[str, ...]:
    total = run.config.get("total_frames")
    share = f" {min(1.0, run.frames / total):4.0%}" if isinstance(total, int) and not run.is_finished else ""
    latest = run.evaluations[-1][1] if run.evaluations else None
    score = format_score(run.score) if run.score is not None else "" if latest is None else f"({format_score(latest)})"
    return run.status, f"{run.frames:,}{share}", score, _age([run]), _what(run, swept), format_path(run.path)


def _sweep_row(path: Path, runs: list[RunFolder], *, is_whole: bool) -> tuple[str, ...]:
    counts = Counter(run.status for run in runs)
    finished, total = counts.pop("finished", 0), len(runs)
    if is_whole and (planned := len(planned_jobs(path))) > total:
        counts["not started"], total = planned - total, planned
    status = ", ".join([f"{finished}/{total} finished", *(f"{n} {status}" for status, n in counts.items())])
    scores = [run.score for run in runs if run.score is not None]
    score = f"{format_score(min(scores))} … {format_score(max(scores))}" if scores else ""
    keys = ", ".join(_swept(path, runs).headers)
    what = f"sweep over {keys}" if keys else "sweep"
    return status, f"{sum(run.frames for run in runs):,}", score, _age(runs), what, format_path(path)


def _what(run: RunFolder, swept: dict[Path, Swept]) -> str:
    """A run's name and seed, or a job's overrides; if it has no result, the reason."""
    reason = run.summary.get("reason") or run.summary.get("error")
    if reason and run.status != "finished":
        text = " ".join(str(reason).split())
        return text if len(text) <= 80 else f"{text[:79]}…"
    if run.is_job and run.overrides:
        return swept[run.path.parent].text(run.overrides) or " ".join(run.overrides)
    if not run.config:
        return "config.yaml cannot be read"
    return f"{run.config.get('name', '?')} seed {run.config.get('seed', '?')}"


def _age(runs: list[RunFolder]) -> str:
    return format_span(max(0.0, time.time() - max(run.changed for run in runs)))


class RunTable(list[dict[str, Any]]):
    """A list of runs that a notebook shows as a table."""

    def _repr_html_(self) -> str:
        columns = dict.fromkeys(key for row in self for key in row)
        cells = [[escape("" if row.get(key) is None else str(row.get(key))) for key in columns] for row in self]
        head = "".join(f"<th>{escape(key)}</th>" for key in columns)
        body = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in cells)
        return f"<table><tr>{head}</tr>{body}</table>"


def facts(run: RunFolder) -> dict[str, Any]:
    """A run as plain values."""
    return {
        "path": str(run.path),
        "status": run.status,
        "name": run.config.get("name"),
        "environment": environment_name(run.config.get("env", {})),
        "seed": run.config.get("seed"),
        "frames": run.frames,
        "total_frames": run.config.get("total_frames"),
        "score": run.score,
        "changed": round(run.changed),
    }
