"""The resumable grid: done jobs are skipped, unfinished ones go on in their folders, failed ones are tried again."""

from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from hydra.core.config_loader import ConfigLoader
from hydra.plugins.launcher import Launcher
from omegaconf import DictConfig

from qframe.config.numbers import integer
from qframe.sweeps.folder import Overrides, SweepFolder
from qframe.sweeps.job import JobSpec
from qframe.sweeps.loop import Needs, run_jobs
from qframe.sweeps.progress_board import SweepBoard, varied_among
from qframe.sweeps.spec import MOST_CHECKED, SpecMaker, composition

SYNC = "qframe.training.Collector"


class Queue:
    """Jobs that wait for a slot.

    Args:
        waiting: their numbers.
        spec: makes a job, or None of one that cannot run.
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
        """A failed job comes back at the end, as often as it may be tried again."""
        if summary.get("status") == "failed" and self._attempts[job.number] <= self._retries:
            self.waiting.append(job.number)

    def to_prune(self, running: Iterable[JobSpec]) -> dict[int, str]:
        """None: every job runs to its end."""
        return {}


def launch(
    numbered: dict[int, Overrides],
    folder: SweepFolder,
    *,
    launcher: Launcher,
    spec: SpecMaker,
    retries: int,
) -> None:
    """Run what is left of a grid: by qframe's own loop, or, with another launcher of Hydra's, in one batch a try."""
    left = [number for number in numbered if not folder.is_done(number)]
    if not left:
        return
    jobs = Queue(left, lambda number: spec(number, numbered[number]), retries=retries)
    engine_for = getattr(launcher, "engine", None)
    if engine_for is None:
        _launch_batches(jobs, folder, launcher, spec.loader)
        return
    board = SweepBoard(len(left), varied_among(numbered.values()))
    first = [composition(spec.loader, numbered[number]).config for number in left[:MOST_CHECKED]]
    run_jobs(jobs, engine_for(needs=needs_of(first), say=board.say), board)


def needs_of(configs: Iterable[Mapping[str, Any]]) -> Needs:
    """What the most demanding of these jobs needs; ``runner.threads=auto`` takes what there is, and needs one."""
    needs = Needs()
    for config in configs:
        runner, collector = (config.get(group) or {} for group in ("runner", "collector"))
        threads = integer(runner.get("threads")) or 1
        if collector.get("_target_") not in (None, SYNC):  # environments and learner run side by side
            threads += 1
        needs = Needs(max(needs.threads, threads), needs.gpu or config.get("device") != "cpu")
    return needs


def _launch_batches(jobs: Queue, folder: SweepFolder, launcher: Launcher, loader: ConfigLoader) -> None:
    """Each try is one call of Hydra's launcher; the folder's number travels as an override."""
    while batch := list(iter(jobs.next, None)):
        listed = [
            [*composition(loader, job.overrides).overrides, f"hydra.sweep.subdir='{job.number}'"] for job in batch
        ]
        launcher.launch(listed, initial_job_idx=0)
        for job in batch:
            jobs.ended(job, folder.summary(job.number))


def parameters(config: DictConfig) -> list[str]:
    """What ``hydra.sweeper.params`` sweeps over, as ``key=values``."""
    return [f"{key}={value}" for key, value in (config.hydra.sweeper.get("params") or {}).items()]


def zipped(config: DictConfig) -> list[list[str]]:
    """The groups of keys that vary together: one list of keys, or several."""
    given = list(config.hydra.sweeper.get("zip") or [])
    return [given] if given and all(isinstance(key, str) for key in given) else [list(group) for group in given]
