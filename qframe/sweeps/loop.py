"""Running the jobs of a sweep, so many at once as there are slots; a job that is killed hurts no other."""

import time
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any, NamedTuple, Protocol

from qframe.config.auto import resolved
from qframe.errors import Stopped
from qframe.runs.folder import RunFolder
from qframe.sweeps.job import JobSpec
from qframe.training.signals import StopSignals

POLL = 0.1  # seconds
ENDED = ("finished", "pruned", "refused", "failed", "stopped")


class Needs(NamedTuple):
    """What a job takes of a machine."""

    threads: int = 1
    gpu: bool = False


class Jobs(Protocol):
    """What a sweeper gives to run."""

    def next(self) -> JobSpec | None:
        """The next job; None while there is none, and at the end."""
        ...

    def ended(self, job: JobSpec, summary: dict[str, Any]) -> None:
        """A job has ended with this summary."""
        ...

    def to_prune(self, running: Iterable[JobSpec]) -> dict[int, str]:
        """The numbers of running jobs that are to be stopped for good, with the reason."""
        ...


class Engine(Protocol):
    """Where jobs run: processes of this machine, a Ray cluster, a queue."""

    slots: int
    threads: int
    """That a job may use."""

    def start(self, job: JobSpec) -> Any:
        """Start a job; what is returned stands for it below."""
        ...

    def ended(self, handle: Any) -> str | None:
        """None while the job runs; "" when it ended by itself; else what ended it."""
        ...

    def stop(self, handle: Any) -> None:
        """Ask a job to write a checkpoint and stop."""
        ...

    def close(self) -> None:
        """End all that is left at once."""
        ...


class Board(Protocol):
    """Where a sweep tells how it goes."""

    def started(self, job: JobSpec) -> None: ...

    def refresh(self, running: Iterable[JobSpec]) -> None: ...

    def ended(self, job: JobSpec, summary: dict[str, Any]) -> None: ...

    def say(self, text: str) -> None: ...

    def close(self) -> None: ...


def run_jobs(jobs: Jobs, engine: Engine, board: Board) -> None:
    """Run until there are no more jobs.

    Raises:
        Stopped: a signal came; every running job was stopped, with a checkpoint.
    """
    running: dict[int, tuple[JobSpec, Any]] = {}
    pruned: dict[int, str] = {}
    with StopSignals() as signals:
        is_stopping = False
        try:
            while True:
                while signals.received is None and len(running) < engine.slots and (job := jobs.next()) is not None:
                    job = sharing(job, engine.threads)
                    board.started(job)
                    running[job.number] = (job, engine.start(job))
                if not running:
                    break
                time.sleep(POLL)
                for number, (job, handle) in list(running.items()):
                    if (broke := engine.ended(handle)) is not None:
                        del running[number]
                        summary = outcome(job, broke, pruned.pop(number, None), is_stopping=is_stopping)
                        board.ended(job, summary)
                        jobs.ended(job, summary)
                specs = [job for job, _ in running.values()]
                board.refresh(specs)
                for number, reason in jobs.to_prune([job for job in specs if job.number not in pruned]).items():
                    pruned[number] = reason
                    engine.stop(running[number][1])
                if signals.received is not None and not is_stopping:
                    is_stopping = True
                    board.say(f"{len(running)} jobs stop, each with a checkpoint; a second Ctrl-C ends them at once")
                    for _, handle in running.values():
                        engine.stop(handle)
        finally:
            board.close()
            engine.close()
    if signals.received is not None:
        raise Stopped(signals.received, "stopped; every job keeps its last checkpoint")


def sharing(job: JobSpec, threads: int) -> JobSpec:
    """The job with no more threads than its share of the machine where its config leaves them to ``auto``."""
    runner = job.config.get("runner")
    if not isinstance(runner, Mapping) or runner.get("threads") != "auto":
        return job
    picked = resolved(job.config)[0]["runner"]["threads"]
    return replace(job, config={**job.config, "runner": {**runner, "threads": min(picked, threads)}})


def outcome(job: JobSpec, broke: str, pruned: str | None, *, is_stopping: bool = False) -> dict[str, Any]:
    """A job's summary when it has ended, completed by what the job itself could not write."""
    folder = RunFolder(job.folder)
    summary = folder.summary
    status = summary.get("status")
    more: dict[str, Any] = {}
    if pruned is not None and status != "finished":
        more = {"status": "pruned", "reason": pruned}
    elif status not in ENDED:
        more = {"status": "stopped" if is_stopping else "failed", "reason": broke or "it ended without a result"}
    if more or "overrides" not in summary:
        return folder.update_summary(more | {"overrides": list(job.overrides)})
    return summary
