"""The resumable grid: finished jobs are skipped, unfinished ones resume in their folders, failed ones are retried."""

from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from math import nan
from pathlib import Path
from typing import Any

from hydra.core.config_loader import ConfigLoader
from hydra.core.utils import JobReturn, JobStatus, filter_overrides, setup_globals
from hydra.plugins.launcher import Launcher
from omegaconf import DictConfig, open_dict

from qframe.config.numbers import integer
from qframe.runs.folder import RunFolder
from qframe.runs.swept import Swept
from qframe.sweeps.folder import Overrides, SweepFolder
from qframe.sweeps.job import OBJECTIVE
from qframe.sweeps.job_spec import MOST_CHECKED, JobSpec, SpecMaker, composition
from qframe.sweeps.loop import Needs, run_jobs
from qframe.sweeps.progress_board import ProgressBoard

SYNC = "qframe.training.Collector"


class Queue:
    """Jobs that wait for a slot.

    Args:
        waiting: their numbers.
        spec: makes the job of a number, or None if it cannot run.
        retries: how often a failed job is tried again in this launch.
    """

    def __init__(self, waiting: Iterable[int], spec: Callable[[int], JobSpec | None], *, retries: int = 0) -> None:
        self.waiting = deque(waiting)
        self._spec, self._retries = spec, retries
        self._attempts: Counter[int] = Counter()

    def next(self) -> JobSpec | None:
        """The next job that can run."""
        while self.waiting:
            number = self.waiting.popleft()
            self._attempts[number] += 1
            if (job := self._spec(number)) is not None:
                return job
        return None

    def ended(self, job: JobSpec, summary: dict[str, Any]) -> None:
        """Put a failed job at the end of the queue, as long as it has retries left."""
        if summary.get("status") == "failed" and self._attempts[job.number] <= self._retries:
            self.waiting.append(job.number)

    def to_prune(self, running: Iterable[JobSpec]) -> dict[int, str]:
        """No job: every job of a grid runs to its end."""
        return {}


def launch(
    numbered: dict[int, Overrides], folder: SweepFolder, *, launcher: Launcher, spec: SpecMaker, retries: int
) -> None:
    """Run the jobs of a grid that are left, in qframe's own loop or with another launcher of Hydra.

    Args:
        numbered: all jobs of the grid.
        folder: the sweep's folder.
        launcher: qframe's launchers have an ``engine``; any other gets one batch of jobs per try.
        spec: makes the jobs.
        retries: how often a failed job is tried again.
    """
    left = [number for number in numbered if not folder.is_done(number)]
    if not left:
        return
    jobs = Queue(left, lambda number: spec(number, numbered[number]), retries=retries)
    engine_for = getattr(launcher, "engine", None)
    if engine_for is None:
        _launch_batches(jobs, folder, launcher, spec.loader)
        return
    board = ProgressBoard(len(left), Swept.among(numbered.values()))
    first = [composition(spec.loader, numbered[number]).config for number in left[:MOST_CHECKED]]
    run_jobs(jobs, engine_for(needs=needs_of(first), say=board.say), board)


def needs_of(configs: Iterable[Mapping[str, Any]]) -> Needs:
    """The needs of the most demanding of these jobs; ``runner.threads=auto`` counts as one thread."""
    needs = Needs()
    for config in configs:
        runner, collector = (config.get(group) or {} for group in ("runner", "collector"))
        threads = integer(runner.get("threads")) or 1
        if collector.get("_target_") not in (None, SYNC):  # environments and learner run in parallel
            threads += 1
        needs = Needs(max(needs.threads, threads), needs.gpu or config.get("device") != "cpu")
    return needs


def _launch_batches(jobs: Queue, folder: SweepFolder, launcher: Launcher, loader: ConfigLoader) -> None:
    """Call Hydra's launcher once per try; the number of each job's folder is passed as an override."""
    while batch := list(iter(jobs.next, None)):
        listed = [
            [*composition(loader, job.overrides).overrides, f"hydra.sweep.subdir='{job.folder.name}'"] for job in batch
        ]
        returned = launcher.launch(listed, initial_job_idx=0)
        for job, result in zip(batch, returned, strict=True):
            if result.status is not JobStatus.COMPLETED:  # it never reached qframe
                RunFolder(job.folder).update_summary({"status": "failed", "reason": str(result._return_value)})
            jobs.ended(job, folder.summary(job.number))


def launch_batch(launcher: Any, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> list[JobReturn]:
    """Run another sweeper's jobs on the launcher's engine, and return their objectives; NaN if there is none.

    Args:
        launcher: one of qframe's, set up by Hydra.
        job_overrides: the overrides of each job, including Hydra's own.
        initial_job_idx: the first job's number.
    """
    setup_globals()
    specs: dict[int, JobSpec] = {}
    for number, overrides in enumerate(job_overrides, start=initial_job_idx):
        loader = launcher.hydra_context.config_loader
        config = loader.load_sweep_config(launcher.config, list(overrides))
        with open_dict(config):
            config.hydra.job.num = config.hydra.job.id = number
        folder = Path(str(config.hydra.sweep.dir)) / str(config.hydra.sweep.subdir)
        hydra = config.pop("hydra")
        trust = getattr(launcher.task_function, "trust", ())
        listed = tuple(str(override).lstrip("+") for override in filter_overrides(list(hydra.overrides.task)))
        specs[number] = JobSpec(number, folder.absolute(), listed, composition(loader, listed).config, trust)
    board = ProgressBoard(len(specs), Swept.among([job.overrides for job in specs.values()]))
    engine = launcher.engine(needs=needs_of([job.config for job in specs.values()]), say=board.say)
    run_jobs(Queue(specs, specs.get), engine, board)
    returned = []
    for job in specs.values():
        returned.append(JobReturn(overrides=list(job.overrides), status=JobStatus.COMPLETED))
        returned[-1].return_value = RunFolder(job.folder).summary.get(OBJECTIVE) or nan
    return returned


def parameters(config: DictConfig) -> list[str]:
    """The values that ``hydra.sweeper.params`` sweeps over, as ``key=values``."""
    return [f"{key}={value}" for key, value in (config.hydra.sweeper.get("params") or {}).items()]


def zipped(config: DictConfig) -> list[list[str]]:
    """The groups of keys in ``hydra.sweeper.zip`` that vary together: one list of keys, or several."""
    given = list(config.hydra.sweeper.get("zip") or [])
    return [given] if given and all(isinstance(key, str) for key in given) else [list(group) for group in given]
