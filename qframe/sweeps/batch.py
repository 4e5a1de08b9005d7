"""One batch of jobs for a sweeper that is not qframe's, as Hydra's interface of launchers wants it."""

from collections.abc import Sequence
from math import nan
from pathlib import Path
from typing import Any

from hydra.core.utils import JobReturn, JobStatus, filter_overrides, setup_globals
from omegaconf import open_dict

from qframe.config.compose import plain
from qframe.runs.folder import RunFolder
from qframe.sweeps.grid import Queue, needs_of
from qframe.sweeps.job import OBJECTIVE, JobSpec
from qframe.sweeps.loop import run_jobs
from qframe.sweeps.progress_board import SweepBoard, varied_among


def launch_batch(launcher: Any, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> list[JobReturn]:
    """Run the jobs by the launcher's engine and return their objectives, NaN where there is none.

    Args:
        launcher: set up by Hydra.
        job_overrides: of each job, Hydra's own among them.
        initial_job_idx: the first job's number.
    """
    setup_globals()
    specs: dict[int, JobSpec] = {}
    for number, overrides in enumerate(job_overrides, start=initial_job_idx):
        config = launcher.hydra_context.config_loader.load_sweep_config(launcher.config, list(overrides))
        with open_dict(config):
            config.hydra.job.num = config.hydra.job.id = number
        folder = Path(str(config.hydra.sweep.dir)) / str(config.hydra.sweep.subdir)
        hydra = config.pop("hydra")
        trust = getattr(launcher.task_function, "trust", ())
        listed = tuple(str(override).lstrip("+") for override in filter_overrides(list(hydra.overrides.task)))
        specs[number] = JobSpec(number, folder.absolute(), listed, plain(config)[0], trust)
    board = SweepBoard(len(specs), varied_among([job.overrides for job in specs.values()]))
    engine = launcher.engine(needs=needs_of([job.config for job in specs.values()]), say=board.say)
    run_jobs(Queue(specs, specs.get), engine, board)
    return [_returned(job) for job in specs.values()]


def _returned(job: JobSpec) -> JobReturn:
    done = JobReturn(overrides=list(job.overrides), status=JobStatus.COMPLETED)
    done.return_value = RunFolder(job.folder).summary.get(OBJECTIVE) or nan
    return done
