"""Jobs as tasks of a Ray cluster whose machines share the sweep's folder."""

import logging
from collections.abc import Callable
from typing import Any

import ray
from ray.exceptions import RayError, TaskCancelledError

from qframe.errors import UserError
from qframe.sweeps.job import run_logged
from qframe.sweeps.job_spec import JobSpec
from qframe.sweeps.loop import Needs


class RayEngine:
    """Runs each job as one task.

    Args:
        address: of the cluster; None starts one on this machine.
        slots: jobs at once; None for as many as the cluster's cores allow.
        needs: the threads of a job.
        gpus: per job; a fraction shares one.
        say: prints how many run at once.

    Raises:
        UserError: the cluster cannot be reached.
    """

    def __init__(
        self, address: str | None, slots: int | None, *, needs: Needs, gpus: float, say: Callable[[str], None]
    ) -> None:
        self._is_ours = not ray.is_initialized()
        if self._is_ours:
            _connect(address)
        resources = ray.cluster_resources()
        cores = int(resources.get("CPU", 1))
        fit = max(1, cores // needs.threads)
        if gpus:
            fit = min(fit, int(resources.get("GPU", 0) / gpus))
            if not fit:
                raise UserError(f"hydra.launcher.gpus: the Ray cluster has too few GPUs for {gpus} per job; use 0")
        self.slots = min(fit, slots or fit)
        self.threads = needs.threads
        self._task: Any = ray.remote(num_cpus=needs.threads, num_gpus=gpus, max_retries=0)(run_logged)
        say(f"{self.slots} jobs at once on Ray, each with {needs.threads} of {cores} cores")

    def start(self, job: JobSpec) -> Any:
        """Start a job."""
        return self._task.remote(job)

    def ended(self, handle: Any) -> str | None:
        """None while the job runs; "" if it ended by itself; else why Ray ended it."""
        done, _ = ray.wait([handle], timeout=0)
        if not done:
            return None
        try:
            ray.get(handle)
        except TaskCancelledError:
            return "it was stopped before it started"
        except RayError as error:
            return f"Ray lost it: {next(iter(str(error).splitlines()), type(error).__name__)}"
        return ""

    def stop(self, handle: Any) -> None:
        """Ask the job to write a checkpoint and end."""
        ray.cancel(handle)

    def close(self) -> None:
        """Leave the cluster, and shut it down if it was started for this sweep."""
        if self._is_ours:
            ray.shutdown()


def _connect(address: str | None) -> None:
    # by default Ray gives its workers nice value 15: they would hardly run beside other processes
    priority = {"worker_niceness": 0} if address is None else None
    silent: dict[str, Any] = {"include_dashboard": False, "log_to_driver": False, "logging_level": logging.ERROR}
    try:
        ray.init(address=address or "local", _system_config=priority, **silent)
    except (ConnectionError, RuntimeError, ValueError) as error:
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        message = f"hydra.launcher.address: no Ray cluster answers at '{address}': {reason}"
        raise UserError(message) from error
