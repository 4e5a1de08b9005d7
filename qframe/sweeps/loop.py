"""The loop that runs the jobs of a sweep, one per slot at a time; a job that is killed does not affect the others."""

import time
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any, NamedTuple, Protocol

from qframe.config.auto import resolved
from qframe.errors import Stopped
from qframe.runs.folder import RunFolder
from qframe.sweeps.job_spec import JobSpec
from qframe.training.signals import StopSignals

POLL = 0.1  # seconds
ENDED = ("finished", "pruned", "refused", "failed", "stopped")


class Needs(NamedTuple):
    """The resources that a job takes."""

    threads: int = 1
    gpu: bool = False


class Jobs(Protocol):
    """The jobs that a sweeper wants to run."""

    def next(self) -> JobSpec | None:
        """The next job; None if none can start now, or none is left."""
        ...

    def ended(self, job: JobSpec, summary: dict[str, Any]) -> None:
        """A job has ended with this summary."""
        ...

    def to_prune(self, running: Iterable[JobSpec]) -> dict[int, str]:
        """The numbers of running jobs to stop for good, with the reason."""
        ...


class Engine(Protocol):
    """Where jobs run: processes of this machine, a Ray cluster, a queue."""

    slots: int
    threads: int
    """Threads that a job may use."""

    def start(self, job: JobSpec) -> Any:
        """Start a job and return a handle to it."""
        ...

    def ended(self, handle: Any) -> str | None:
        """None while the job runs; "" if it ended by itself; else the reason why it ended."""
        ...

    def stop(self, handle: Any) -> None:
        """Ask a job to write a checkpoint and stop."""
        ...

    def close(self) -> None:
        """End all remaining jobs at once."""
        ...


class Board(Protocol):
    """Shows the progress of a sweep."""

    def started(self, job: JobSpec) -> None: ...

    def refresh(self, running: Iterable[JobSpec]) -> None: ...

    def ended(self, job: JobSpec, summary: dict[str, Any]) -> None: ...

    def say(self, text: str) -> None: ...

    def close(self) -> None: ...


def run_jobs(jobs: Jobs, engine: Engine, board: Board) -> None:
    """Run jobs until there are no more.

    Raises:
        Stopped: by a signal, after every running job was stopped with a checkpoint.
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
                    try:
                        running[job.number] = (job, engine.start(job))
                    except Exception:  # a signal reaches a whole process group, and so the server that starts the jobs
                        if signals.received is None:
                            raise
                        break
                if not running:
                    break
                time.sleep(POLL)
                for number, (job, handle) in list(running.items()):
                    if (reason := engine.ended(handle)) is not None:
                        del running[number]
                        summary = outcome(job, reason, pruned.pop(number, None), is_stopping=is_stopping)
                        board.ended(job, summary)
                        jobs.ended(job, summary)
                specs = [job for job, _ in running.values()]
                board.refresh(specs)
                for number, reason in jobs.to_prune([job for job in specs if job.number not in pruned]).items():
                    pruned[number] = reason
                    engine.stop(running[number][1])
                if signals.received is not None and not is_stopping:
                    is_stopping = True
                    board.say(
                        f"stopping {len(running)} jobs, each with a checkpoint; a second Ctrl-C ends them at once"
                    )
                    for _, handle in running.values():
                        engine.stop(handle)
        finally:
            board.close()
            engine.close()
    if signals.received is not None:
        raise Stopped(signals.received, "the sweep was stopped; every job has kept its last checkpoint")


def sharing(job: JobSpec, threads: int) -> JobSpec:
    """The job; with ``runner.threads=auto`` it gets no more threads than its share of the machine."""
    runner = job.config.get("runner")
    if not isinstance(runner, Mapping) or runner.get("threads") != "auto":
        return job
    picked = resolved(job.config)[0]["runner"]["threads"]
    return replace(job, config={**job.config, "runner": {**runner, "threads": min(picked, threads)}})


def outcome(job: JobSpec, reason: str, pruned: str | None, *, is_stopping: bool = False) -> dict[str, Any]:
    """The summary of a job that has ended, with the status if the job could not write it itself."""
    folder = RunFolder(job.folder)
    summary = folder.summary
    status = summary.get("status")
    more: dict[str, Any] = {}
    if pruned is not None and status != "finished":
        more = {"status": "pruned", "reason": pruned}
    elif status not in ENDED:
        more = {"status": "stopped" if is_stopping else "failed", "reason": reason or "it ended without a result"}
    if more or "overrides" not in summary:
        return folder.update_summary(more | {"overrides": list(job.overrides)})
    return summary
