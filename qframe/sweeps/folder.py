"""The folder of a sweep: which job has which number, how each stands, and that one process at a time runs them."""

import fcntl
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from qframe.errors import UserError
from qframe.runs.folder import RunFolder, read_json, write_json
from qframe.sweeps.job import DONE

Overrides = tuple[str, ...]


class SweepFolder:
    """Names and files of one sweep; a job's folder is its number.

    Args:
        path: the folder; made when something is written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.record = path / "sweep.json"
        self.jobs = path / "jobs.json"

    def numbered(self, jobs: Sequence[Overrides]) -> dict[int, Overrides]:
        """The jobs by number: those of an earlier launch keep theirs, new ones come after."""
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
        return {int(number): tuple(overrides) for number, overrides in read_json(self.jobs).items()}

    def write_jobs(self, jobs: dict[int, Overrides]) -> None:
        """Write down the numbers, before any job starts."""
        every = self.earlier() | jobs
        write_json(self.jobs, {str(number): list(overrides) for number, overrides in sorted(every.items())})

    def job(self, number: int) -> Path:
        """The run folder of a job."""
        return self.path / str(number)

    def summary(self, number: int) -> dict[str, Any]:
        """What is known of a job; {} of one that never started."""
        return RunFolder(self.job(number)).summary

    def is_done(self, number: int) -> bool:
        """Whether the job is not to be started again."""
        return self.summary(number).get("status") in DONE

    def standing(self, number: int) -> str:
        """What launching the sweep now would do with a job, in words."""
        summary, files = self.summary(number), RunFolder(self.job(number))
        status = summary.get("status")
        if status is None:
            return "new"
        if status in DONE:
            return f"{status}: skipped"
        does = "goes on" if files.has_checkpoint else "starts anew"
        return f"{'unfinished' if status in ('running', 'stopped') else status}: {does}"

    @contextmanager
    def locked(self) -> Iterator[None]:
        """While active, no other process launches this sweep; the system frees it when the process dies.

        Raises:
            UserError: another process has it.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        with (self.path / "sweep.lock").open("a+") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                file.seek(0)
                holder = file.read().strip() or "another process"
                message = f"expected a sweep that nobody is running, got '{self.path}', which {holder} runs"
                raise UserError(f"{message}; stop it first, or choose another folder") from error
            file.truncate(0)
            file.write(f"process {os.getpid()} on {os.uname().nodename}")
            file.flush()
            yield


def _identity(overrides: Overrides) -> str:
    """Equal for jobs with the same overrides in any order."""
    return json.dumps(sorted(overrides))
