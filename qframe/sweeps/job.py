"""One training run: alone, or as a job of a sweep that writes its status and the reason for it to its folder.

A job can be started any number of times: if it is finished it does nothing, if it was stopped it resumes from its last
checkpoint, and without a checkpoint it starts again. So a sweep that was killed only needs to be launched again.
"""

import faulthandler
import os
import shutil
import sys
import time
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from math import nan
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from qframe.config import build
from qframe.config.compose import recheck
from qframe.config.hydra_app import hydra_app
from qframe.config.saved_run import fitting
from qframe.config.targets import apply_trust
from qframe.config.trained_weights import checkpoint
from qframe.errors import RunError, Stopped, UserError
from qframe.machine.screen import guarded_screen
from qframe.runs.folder import RunFolder, job_number
from qframe.runs.lock import Locked
from qframe.sweeps.folder import DONE
from qframe.sweeps.job_spec import JobSpec, composition
from qframe.training import Runner

OBJECTIVE = "eval_return_mean"
PATIENCE = 30.0  # seconds that an earlier process has to end


@dataclass
class Job:
    """The task function that Hydra's own launchers call for each job of a sweep.

    Args:
        trust: further packages that the job's process trusts.
        config_dir: the user's own folder of YAML.
    """

    trust: tuple[str, ...] = ()
    config_dir: str | None = None

    def __call__(self, config: DictConfig) -> float:
        """Train and return the sweeper's objective: the final greedy return, NaN if there is none."""
        hydra: Any = OmegaConf.to_container(HydraConfig.get(), resolve=False)  # a folder's name is no interpolation
        folder = Path(hydra["runtime"]["output_dir"])
        overrides = tuple(str(override).lstrip("+") for override in hydra["overrides"]["task"])
        apply_trust(self.trust)
        with hydra_app(self.config_dir) as app:  # as it was checked; Hydra's lacks what follows from what was typed
            found = composition(app.config_loader, overrides)
        job = JobSpec(job_number(folder.name) or 0, folder, overrides, found.config, self.trust)
        print(f"job {job.number}  {' '.join(overrides)}", flush=True)
        return float(execute(job).get(OBJECTIVE) or nan)


def execute(job: JobSpec) -> dict[str, Any]:
    """Train a job of a sweep to its end, from its last checkpoint if any, and return its summary.

    An error is printed and written to the job's summary.

    Raises:
        Stopped: a signal stopped the job, with a checkpoint.
    """
    started, summary = time.monotonic(), RunFolder(job.folder).summary
    if summary.get("status") in DONE:
        return summary
    try:
        apply_trust(job.trust)
        summary = _runner(job, started).run()
    except Stopped as stopped:  # which stops the whole sweep
        print(f"qframe: {stopped}", file=sys.stderr)
        _written(job, {"reason": str(stopped)})
        raise
    except Exception as error:
        return _record(error, job)
    return _written(job, summary)


def _runner(job: JobSpec, started: float) -> Runner:
    """The job's runner, at its last checkpoint if any."""
    files = RunFolder(job.folder)
    _await(files)
    if not (files.config_file.is_file() and files.has_checkpoint):
        return _new_runner(job.config, job.folder, started)
    saved = OmegaConf.load(files.config_file)
    assert isinstance(saved, DictConfig)
    with fitting():
        state = checkpoint(files)
        return build.build(recheck(saved, build.PROVIDED), job.folder, state=state, started=started)


def _await(files: RunFolder) -> None:
    """Wait for a process of an earlier launch to write its checkpoint; without a checkpoint, clear the folder."""
    until = time.monotonic() + PATIENCE
    while True:
        try:
            files.lock.acquire()
            break
        except Locked:
            if time.monotonic() > until:
                raise
            time.sleep(0.5)
    if not (files.config_file.is_file() and files.has_checkpoint):
        _clear(files.path)
    files.lock.release()


def _new_runner(config: Mapping[str, Any], folder: Path, started: float) -> Runner:
    try:
        return build.build(recheck(OmegaConf.create(dict(config)), build.PROVIDED), folder, started=started)
    except ValueError as error:
        raise UserError(str(error)) from error


def _record(error: Exception, job: JobSpec) -> dict[str, Any]:
    """Print why a job of a sweep has no result, and write it to the job's summary."""
    is_refused = isinstance(error, UserError)
    outcome = {"status": "refused" if is_refused else "failed", "reason": str(error) or repr(error)}
    if not isinstance(error, UserError | RunError):
        traceback.print_exception(error)
    print(f"qframe: job {job.number} ({' '.join(job.overrides)}) {outcome['status']}: {error}", file=sys.stderr)
    return _written(job, outcome)


def _written(job: JobSpec, outcome: dict[str, Any]) -> dict[str, Any]:
    """Add the outcome and the overrides to the job's ``summary.json``."""
    return RunFolder(job.folder).update_summary(outcome | {"overrides": list(job.overrides)})


def _clear(folder: Path) -> None:
    """Remove the files of a job that was killed before its first checkpoint."""
    for path in folder.iterdir() if folder.is_dir() else ():
        if path.is_dir():
            shutil.rmtree(path)
        elif path.name not in ("output.log", ".lock"):
            path.unlink()


def run_logged(job: JobSpec) -> None:
    """Train with all output in the job's ``output.log``; returns normally if a signal stopped the job."""
    with output_to_log(job):
        try:
            execute(job)
        except Stopped:
            return


@contextmanager
def output_to_log(job: JobSpec) -> Iterator[None]:
    """While active, standard output and errors, including those of C++ libraries, go to the job's ``output.log``."""
    job.folder.mkdir(parents=True, exist_ok=True)
    log = os.open(job.folder / "output.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    earlier = [os.dup(1), os.dup(2)]
    os.dup2(log, 1)
    os.dup2(log, 2)
    faulthandler.enable(2)
    try:
        with guarded_screen():
            yield
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os.dup2(earlier[0], 1)
        os.dup2(earlier[1], 2)
        for opened in (log, *earlier):
            os.close(opened)
