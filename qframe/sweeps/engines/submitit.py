"""Jobs in a queue, through submitit: Slurm's queue, or submitit's stand-in on this machine."""

import contextlib
import logging
import os
import signal
import threading
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import submitit
from submitit.core.utils import FailedJobError, UncompletedJobError

from qframe.errors import Stopped, UserError
from qframe.sweeps.engines.local import slots_for, threads_of_children
from qframe.sweeps.job import execute, output_to_log
from qframe.sweeps.job_spec import JobSpec
from qframe.sweeps.loop import Needs

WARNING = signal.SIGUSR2  # sent by the queue when a job's time is nearly over, as submitit asks it to
ASK = 5.0  # seconds between queries to the queue about jobs that were asked to stop


class Resumable:
    """A job that the queue may preempt or stop at its time limit, and start again: it resumes from its checkpoint.

    Submitit alone would not wait for a checkpoint; here the run first stops as at any signal, with a checkpoint. A job
    that a signal stopped leaves no result: the queue decides whether to start it again.
    """

    def __call__(self, job: JobSpec) -> None:
        """Train, and requeue the job if the queue's warning stopped it."""
        warned, is_over = threading.Event(), threading.Event()

        def stop() -> None:
            warned.wait()
            while not is_over.is_set():  # again and again: a job that is still being built does not listen yet
                os.kill(os.getpid(), signal.SIGTERM)
                is_over.wait(1.0)

        requeue: Any = signal.signal(WARNING, lambda number, frame: warned.set())
        threading.Thread(target=stop, daemon=True).start()
        try:
            with output_to_log(job):
                execute(job)
        except Stopped:
            if warned.is_set():
                is_over.set()
                requeue(WARNING, None)
            raise
        finally:
            is_over.set()

    def checkpoint(self, job: JobSpec) -> submitit.helpers.DelayedSubmission:
        """The job that the queue starts in its place."""
        return submitit.helpers.DelayedSubmission(self, job)


class SubmititEngine:
    """Submits each job by itself.

    Args:
        cluster: ``slurm`` or ``local``.
        slots: jobs in the queue at once; None for as many as this machine's cores allow.
        folder: for submitit's own files.
        needs: the threads of a job.
        parameters: of the queue, by submitit's names.
        say: prints how many run at once.

    Raises:
        UserError: there is no such queue, or it has no such parameter.
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
        self._stopped: dict[submitit.Job[Any], float] = {}  # when the queue was last queried about it
        try:
            of_executor = {key: value for key, value in parameters.items() if key.endswith("_max_num_timeout")}
            of_jobs = {key: value for key, value in parameters.items() if key not in of_executor}
            self._executor = submitit.AutoExecutor(folder=folder, cluster=cluster, **of_executor)
            with warnings.catch_warnings():
                warnings.simplefilter("error", UserWarning)  # warns of an unknown parameter
                self._executor.update_parameters(cpus_per_task=needs.threads, **of_jobs)
        except (RuntimeError, ValueError, NameError, TypeError, UserWarning) as error:
            raise UserError(f"hydra/launcher: the queue does not accept these jobs: {error}") from error
        say(f"{slots} jobs at once through submitit ({cluster}), each with {needs.threads} threads")

    def start(self, job: JobSpec) -> submitit.Job[Any]:
        """Submit a job."""
        with threads_of_children(self.threads):
            handle = self._executor.submit(Resumable(), job)
        self._running.append(handle)
        return handle

    def ended(self, handle: submitit.Job[Any]) -> str | None:
        """None while the job waits or runs; "" if it ended by itself; else the queue's reason."""
        if not handle.done(force_check=self._is_due(handle)):
            return None
        self._running.remove(handle)
        if handle in self._stopped and not handle.paths.result_pickle.is_file():
            return "it was stopped"
        try:
            handle.result()
        except (UncompletedJobError, FailedJobError) as error:
            return f"the queue lost it (state {handle.state}): {next(iter(str(error).splitlines()), '')}"
        except Exception as error:  # raised by the job's process
            return repr(error)
        return ""

    def _is_due(self, handle: submitit.Job[Any]) -> bool:
        """Whether to query the queue now: submitit by itself queries less and less often, up to ten minutes apart."""
        asked, now = self._stopped.get(handle), time.monotonic()
        if asked is None or now - asked < ASK:
            return False
        self._stopped[handle] = now
        return True

    def stop(self, handle: submitit.Job[Any]) -> None:
        """Ask the job to write a checkpoint and end."""
        self._stopped[handle] = time.monotonic()
        if self._executor.cluster == "local":  # there, cancelling leaves no time for a checkpoint
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(handle.job_id), signal.SIGTERM)
        else:
            handle.cancel()

    def close(self) -> None:
        """Cancel the jobs that are left."""
        for handle in self._running:
            handle.cancel()
