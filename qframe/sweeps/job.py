"""One training run: alone, or as a job of a sweep that leaves its status and reason in its folder.

A job of a sweep can be started any number of times: finished it does nothing, stopped it goes on from its last
checkpoint, and without a checkpoint it begins anew. So a sweep that was killed needs only to be launched again.
"""

import shutil
import sys
import time
import traceback
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import nan
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from qframe.config import build
from qframe.config.compose import recheck
from qframe.config.saved_run import checkpoint, fitting
from qframe.config.targets import apply_trust
from qframe.errors import RunError, Stopped, UserError
from qframe.runs.folder import RunFolder
from qframe.runs.lock import RunLocked
from qframe.training import Runner

OBJECTIVE = "eval_return_mean"
PATIENCE = 30.0  # seconds for an earlier process to end
DONE = ("finished", "pruned")
"""The statuses of a job that is not to be started again."""


@dataclass(frozen=True)
class JobSpec:
    """A job of a sweep, as plain values that travel to another process or machine.

    Args:
        number: the same at every launch of the sweep.
        folder: the job's run folder.
        overrides: as typed.
        config: composed, as plain values.
        trust: packages that the job's process is to trust as well.
    """

    number: int
    folder: Path
    overrides: tuple[str, ...]
    config: Mapping[str, Any] = field(repr=False)
    trust: tuple[str, ...] = ()


@dataclass
class Job:
    """The task function that Hydra's own launchers call for each job of a sweep.

    Args:
        trust: packages that the job's process is to trust as well.
    """

    trust: tuple[str, ...] = ()

    def __call__(self, config: DictConfig) -> float:
        """Train; the sweeper's objective is the final greedy return, NaN where there is none."""
        hydra = HydraConfig.get()
        folder = Path(hydra.runtime.output_dir)
        overrides = tuple(str(override).lstrip("+") for override in hydra.overrides.task)
        print(f"job {folder.name}  {' '.join(overrides)}", flush=True)
        number = int(folder.name) if folder.name.isdigit() else 0
        return float(execute(JobSpec(number, folder, overrides, config, self.trust)).get(OBJECTIVE) or nan)


def execute(job: JobSpec) -> dict[str, Any]:
    """Train a job of a sweep to its end, from where it stands, and return its summary.

    Whatever goes wrong is written to the job's folder and told.

    Raises:
        Stopped: by a signal, with a checkpoint.
    """
    started, files = time.monotonic(), RunFolder(job.folder)
    summary = files.summary
    if summary.get("status") in DONE:
        return summary
    try:
        apply_trust(job.trust)
        summary = _runner(job, started).run()
    except Stopped as stopped:  # and so is the whole sweep
        print(f"qframe: {stopped}", file=sys.stderr)
        _written(job, {"reason": str(stopped)})
        raise
    except Exception as error:
        return _record(error, job)
    return _written(job, summary)


def _runner(job: JobSpec, started: float) -> Runner:
    """The job's runner at its last checkpoint, or a new one."""
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
    """Wait for a process of an earlier launch that still writes its checkpoint; remove what one without any left."""
    until = time.monotonic() + PATIENCE
    while True:
        try:
            files.lock.acquire()
            break
        except RunLocked:
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
    """Tell and write down why a job of a sweep has no result."""
    is_refused = isinstance(error, UserError)
    outcome = {"status": "refused" if is_refused else "failed", "reason": str(error) or repr(error)}
    if not isinstance(error, UserError | RunError):
        traceback.print_exception(error)
    told = f"job {job.folder.name} ({' '.join(job.overrides)}) {outcome['status']}: {error}"
    print(f"qframe: {told}", file=sys.stderr)
    return _written(job, outcome)


def _written(job: JobSpec, outcome: dict[str, Any]) -> dict[str, Any]:
    """Add the outcome and the overrides to the job's ``summary.json``."""
    return RunFolder(job.folder).update_summary(outcome | {"overrides": list(job.overrides)})


def _clear(folder: Path) -> None:
    """Remove what a job left that was killed before its first checkpoint."""
    for path in folder.iterdir() if folder.is_dir() else ():
        if path.is_dir():
            shutil.rmtree(path)
        elif path.name not in ("output.log", ".lock"):
            path.unlink()
