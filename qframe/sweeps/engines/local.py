"""Jobs as processes of this machine: forked from a server that has imported everything once."""

import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from multiprocessing import connection, forkserver, get_context, parent_process
from multiprocessing.context import ForkServerContext
from multiprocessing.process import BaseProcess

import torch

from qframe.errors import ConfigError, Fault
from qframe.sweeps.job import run_logged
from qframe.sweeps.job_spec import JobSpec
from qframe.sweeps.loop import Needs

THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS")


class LocalEngine:
    """Runs each job in a process of its own.

    Args:
        slots: jobs at once.
        threads: for each job's libraries, so that all jobs together use no more than the machine's cores.
        gpus: to distribute over the slots.
    """

    def __init__(self, slots: int, *, threads: int, gpus: Sequence[str] = ()) -> None:
        self.slots, self.threads = slots, threads
        self._gpus = shares(gpus, slots)
        self._context = get_context("forkserver")
        self.running: dict[BaseProcess, int] = {}

    def start(self, job: JobSpec) -> BaseProcess:
        """Start a job in the first free slot."""
        slot = next(slot for slot in range(self.slots) if slot not in self.running.values())
        gpu = self._gpus[slot] if self._gpus else None
        process = self._context.Process(target=_run, args=(job, gpu), name=f"job {job.number}")
        with threads_of_children(self.threads):
            _start_server(self._context)
        process.start()
        self.running[process] = slot
        return process

    def ended(self, handle: BaseProcess) -> str | None:
        """None while the job runs; "" if it ended by itself; else the signal or exit status that ended it."""
        if handle.is_alive():
            return None
        self.running.pop(handle, None)
        return _reason(handle.exitcode or 0)

    def stop(self, handle: BaseProcess) -> None:
        """Send SIGTERM: the job writes a checkpoint and ends."""
        handle.terminate()

    def close(self) -> None:
        """Kill the jobs that still run."""
        for process in self.running:
            process.kill()
            process.join()


def local_engine(asked: int | None, *, needs: Needs, say: Callable[[str], None]) -> LocalEngine:
    """The engine of this machine, with no more threads at once than it has cores.

    Args:
        asked: jobs at once; None for as many as fit, or one per GPU if jobs use them.
        needs: the threads and GPUs of a job.
        say: prints how many run at once.

    Raises:
        ConfigError: ``asked`` is below 1.
    """
    if asked is not None and asked < 1:
        raise ConfigError([Fault("hydra.launcher.jobs", f"must be at least 1, got {asked}; null runs as many as fit")])
    gpus = _gpus() if needs.gpu else []
    fit = slots_for(None, threads=needs.threads)
    slots = slots_for(asked or len(gpus) or None, threads=needs.threads)
    threads = max(needs.threads, cores() // slots)
    refused = f" ({asked} requested, {cores()} cores, runner.threads={needs.threads})" if asked and asked > fit else ""
    of_gpus = f", {len(gpus)} GPUs" if gpus else ""
    say(f"{slots} {'job' if slots == 1 else 'jobs'} at once, each with {threads} of {cores()} cores{of_gpus}{refused}")
    return LocalEngine(slots, threads=threads, gpus=gpus)


def slots_for(asked: int | None, *, threads: int) -> int:
    """How many jobs with this many threads run at once on this machine: ``asked``, but no more than fit."""
    fit = max(1, cores() // threads)
    return fit if asked is None else min(asked, fit)


def shares(gpus: Sequence[str], slots: int) -> list[str]:
    """The GPUs of each slot, as in CUDA_VISIBLE_DEVICES: several GPUs per slot, or several slots per GPU.

    >>> shares(["0", "1", "2", "3"], 2), shares(["0", "1"], 3), shares([], 1)
    (['0,1', '2,3'], ['0', '1', '0'], [])
    """
    each = len(gpus) // slots
    if each:
        return [",".join(gpus[slot * each : (slot + 1) * each]) for slot in range(slots)]
    return [gpus[slot % len(gpus)] for slot in range(slots)] if gpus else []


def cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _run(job: JobSpec, gpu: str | None) -> None:
    """The main function of a job's process: output goes to ``output.log``, and it stops if the sweep's process dies."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # which its server ignores
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # Ctrl-C reaches every process; only the sweep handles it
    if gpu is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = gpu
    threading.Thread(target=_stop_with_parent, daemon=True).start()
    run_logged(job)


def _stop_with_parent() -> None:
    parent = parent_process()
    if parent is not None:
        connection.wait([parent.sentinel])
        os.kill(os.getpid(), signal.SIGTERM)


def _start_server(of: ForkServerContext) -> None:
    of.set_forkserver_preload(["qframe.sweeps.job"])
    # Inherited by the server and its jobs: a signal to the whole group must not end the server, which sees jobs end.
    earlier = {number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGHUP, signal.SIGTERM)}
    forkserver.ensure_running()
    for number, handler in earlier.items():
        signal.signal(number, handler)


def _gpus() -> list[str]:
    """The GPUs that this process may use, by the names that CUDA_VISIBLE_DEVICES takes."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return [name for name in visible.split(",") if name]
    return [str(index) for index in range(torch.cuda.device_count())]


def _reason(code: int) -> str:
    if code >= 0:
        return "" if code == 0 else f"its process ended with exit status {code}"
    name = signal.strsignal(-code) or "a signal"
    return f"its process was ended by signal {-code} ({name})" + ("; out of memory?" if code == -signal.SIGKILL else "")


@contextmanager
def threads_of_children(threads: int) -> Iterator[None]:
    """Processes started while active have numerical libraries with this many threads."""
    earlier = {name: os.environ.get(name) for name in THREADS}
    os.environ.update(dict.fromkeys(THREADS, str(threads)))
    try:
        yield
    finally:
        for name, value in earlier.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
