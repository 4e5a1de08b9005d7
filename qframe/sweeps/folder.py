"""The folder of a sweep: the number and the status of each job, and a lock that lets one process at a time run them."""

import json
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from qframe.config.compose import Composition
from qframe.config.hydra_keys import inside
from qframe.errors import ConfigError, Fault, UserError
from qframe.runs.folder import RunFolder, is_unused, job_number, planned_jobs, read_json, write_json
from qframe.runs.lock import FolderLock
from qframe.runs.run_name import job_folder
from qframe.runs.swept import Swept

Overrides = tuple[str, ...]
DONE = ("finished", "pruned")
"""The statuses of a job that is not started again."""


class SweepFolder:
    """Names and files of one sweep; a job's folder is named by its number and its differences from the other jobs.

    Args:
        path: the folder; created when something is written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.record = path / "sweep.json"
        self.jobs = path / "jobs.json"

    def numbered(self, jobs: Sequence[Overrides]) -> dict[int, Overrides]:
        """The jobs by number: jobs of an earlier launch keep theirs, new ones follow."""
        known = {_identity(overrides): number for number, overrides in self.earlier().items()}
        following = max(known.values(), default=-1) + 1
        numbers: dict[int, Overrides] = {}
        for overrides in jobs:
            number = known.get(_identity(overrides))
            if number is None:
                number, following = following, following + 1
            numbers[number] = overrides
        return dict(sorted(numbers.items()))

    def earlier(self) -> dict[int, Overrides]:
        """The jobs of earlier launches by number."""
        return {int(number): tuple(overrides) for number, overrides in planned_jobs(self.path).items()}

    def write_jobs(self, jobs: dict[int, Overrides], swept: Swept | None = None) -> None:
        """Record the numbers and name the folders, before any job starts.

        Args:
            jobs: to add.
            swept: the keys that name them; None for those that vary among all jobs.
        """
        every = self.earlier() | jobs
        write_json(self.jobs, {str(number): list(overrides) for number, overrides in sorted(every.items())})
        swept = swept or Swept.among(every.values())
        for number, overrides in jobs.items():
            self._folders.setdefault(number, self.path / job_folder(number, swept.picked(overrides)))

    def job(self, number: int) -> Path:
        """The run folder of a job."""
        return self._folders.get(number, self.path / str(number))

    @cached_property
    def _folders(self) -> dict[int, Path]:
        """The folders of the jobs that have started: a folder keeps its name when later jobs vary other keys."""
        paths = self.path.iterdir() if self.path.is_dir() else ()
        return {number: path for path in paths if path.is_dir() and (number := job_number(path.name)) is not None}

    def summary(self, number: int) -> dict[str, Any]:
        """A job's ``summary.json``; {} if it never started."""
        return RunFolder(self.job(number)).summary

    def summaries(self) -> dict[Path, dict[str, Any]]:
        """The summaries of all jobs that have started, by folder, in the order of their numbers."""
        found = {path.parent: read_json(path) for path in self.path.glob("*/summary.json")}
        return dict(sorted(found.items(), key=lambda item: (job_number(item[0].name) or 0, item[0].name)))

    def is_done(self, number: int) -> bool:
        """Whether the job is not started again."""
        return self.summary(number).get("status") in DONE

    def plan(self, number: int) -> str:
        """A job's status, and what launching the sweep now would do with it."""
        run = RunFolder(self.job(number))
        status = run.summary.get("status")
        if status is None:
            return "new"
        if status in DONE:
            return f"{status}: skipped"
        verb = "resumes" if run.has_checkpoint else "starts again"
        return f"{'unfinished' if status in ('running', 'stopped') else status}: {verb}"

    @cached_property
    def lock(self) -> FolderLock:
        """Held by the process that runs the jobs."""
        return FolderLock(self.path / "sweep.lock", f"the sweep in {self.path} is being run")


def output_folder(composition: Composition, kind: str) -> tuple[Path, bool]:
    """The folder of a ``run`` or ``sweep``, which is not created here, and whether its name is the time.

    Raises:
        UserError: the folder has something else in it, or its name cannot be resolved.
    """
    whole = OmegaConf.create({**composition.config, "hydra": composition.hydra})
    assert isinstance(whole, DictConfig)
    try:
        folder = Path(str(whole.hydra[kind].dir)).absolute()
    except OmegaConfBaseException as error:
        raise ConfigError([Fault(f"hydra.{kind}.dir", str(error).splitlines()[0])]) from error
    inside(folder, f"hydra.{kind}.dir", composition.keys)
    raw = OmegaConf.to_container(composition.hydra[kind], resolve=False)
    is_stamped = isinstance(raw, dict) and "${now:" in str(raw["dir"])
    if is_stamped:
        return folder, True
    if kind == "sweep" and SweepFolder(folder).record.is_file():
        return folder, False
    if not is_unused(folder):
        remedy = "resume the run in it with qframe resume" if (folder / "config.yaml").is_file() else "choose another"
        raise UserError(f"hydra.{kind}.dir: '{folder}' exists and is not an empty folder; {remedy}")
    return folder, False


def _identity(overrides: Overrides) -> str:
    """A key that is equal for jobs with the same overrides in any order."""
    return json.dumps(sorted(overrides))
