"""Jobs of a queue, by submitit: Slurm's, or processes of this machine that stand for one."""

import contextlib
import logging
import os
import signal
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import submitit
from submitit.core.utils import FailedJobError, UncompletedJobError

from qframe.cli.job import JobSpec
from qframe.cli.jobs.child import run_logged, threads_of_children
from qframe.cli.jobs.local import slots_for
from qframe.cli.jobs.loop import Needs
from qframe.config.errors import UserError


class Resumable:
    """A job that the queue may stop for its time or for others, and start again: it goes on where it was."""

    def __call__(self, job: JobSpec) -> None:
        """Train."""
        run_logged(job)

    def checkpoint(self, job: JobSpec) -> submitit.helpers.DelayedSubmission:
        """What the queue starts in its place."""
        return submitit.helpers.DelayedSubmission(self, job)


class SubmititEngine:
    """Submits each job by itself.

    Args:
        cluster: ``slurm`` or ``local``.
        slots: jobs in the queue at once; None for as many as this machine has cores for.
        folder: for submitit's own files.
        needs: of a job.
        parameters: of the queue, in submitit's words.
        say: tells how many run at once.

    Raises:
        UserError: there is no such queue, or a parameter that it does not know.
    """

    def __init__(
        self,
        cluster: str,
        slots: int | None,
        *,
        folder: Path,
        needs: Needs,
        parameters: dict[str, Any],
        say: Callable[[str], None],
    ) -> None:
        logging.getLogger("submitit").setLevel(logging.ERROR)
        if slots is None or cluster == "local":
            slots = slots_for(slots, threads=needs.threads)
        self.slots, self.threads = slots, needs.threads
        self._running: list[submitit.Job[Any]] = []
        try:
            of_executor = {key: value for key, value in parameters.items() if key.endswith("_max_num_timeout")}
            of_jobs = {key: value for key, value in parameters.items() if key not in of_executor}
            self._executor = submitit.AutoExecutor(folder=folder, cluster=cluster, **of_executor)
            with warnings.catch_warnings():
                warnings.simplefilter("error", UserWarning)  # a parameter of another name
                self._executor.update_parameters(cpus_per_task=needs.threads, **of_jobs)
        except (RuntimeError, ValueError, NameError, TypeError, UserWarning) as error:
            raise UserError(f"hydra/launcher: expected a queue that takes these jobs, got: {error}") from error
        say(f"{slots} jobs at once by submitit ({cluster}), threads of a job: {needs.threads}")

    def start(self, job: JobSpec) -> submitit.Job[Any]:
        """Submit a job."""
        with threads_of_children(self.threads):
            handle = self._executor.submit(Resumable(), job)
        self._running.append(handle)
        return handle

    def ended(self, handle: submitit.Job[Any]) -> str | None:
        """None while it waits or runs; "" when it ended by itself; else what the queue says."""
        if not handle.done():
            return None
        self._running.remove(handle)
        try:
            handle.result()
        except (UncompletedJobError, FailedJobError) as error:
            return f"the queue lost it (state {handle.state}): {next(iter(str(error).splitlines()), '')}"
        except Exception as error:  # whatever the job's process sent
            return repr(error)
        return ""

    def stop(self, handle: submitit.Job[Any]) -> None:
        """The job writes a checkpoint and ends."""
        if self._executor.cluster == "local":  # there, cancelling leaves no time for a checkpoint
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(handle.job_id), signal.SIGTERM)
        else:
            handle.cancel()

    def close(self) -> None:
        """Cancel what is left."""
        for handle in self._running:
            handle.cancel()
