"""What the process of a job does, wherever it runs."""

import faulthandler
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from qframe.errors import Stopped
from qframe.sweeps.job import JobSpec, execute

THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS")


def run_logged(job: JobSpec) -> None:
    """Train, with all that is printed in the job's ``output.log``; a job that a signal stopped returns as well."""
    with output_to_log(job):
        try:
            execute(job)
        except Stopped:
            return


@contextmanager
def output_to_log(job: JobSpec) -> Iterator[None]:
    """While active, standard output and errors, those of libraries too, go to the job's ``output.log``."""
    job.folder.mkdir(parents=True, exist_ok=True)
    log = os.open(job.folder / "output.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    earlier = [os.dup(1), os.dup(2)]
    os.dup2(log, 1)
    os.dup2(log, 2)
    faulthandler.enable(2)
    try:
        yield
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os.dup2(earlier[0], 1)
        os.dup2(earlier[1], 2)
        for opened in (log, *earlier):
            os.close(opened)


@contextmanager
def threads_of_children(threads: int) -> Iterator[None]:
    """What starts meanwhile has libraries with so many threads."""
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
