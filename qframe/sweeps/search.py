"""The trials of a search as jobs of a sweep: asked of Optuna one by one, pruned on evaluations, and kept in a database.

A trial whose process was killed stays ``RUNNING`` in the database. The sweep that is launched again takes up its own
and its jobs go on from their checkpoints; trials of another machine on the same database whose heartbeat has stopped
are failed and asked for once more.
"""

import time
from collections import Counter, deque
from collections.abc import Iterable
from math import isfinite
from typing import Any

import optuna
from optuna.trial import TrialState

from qframe.sweeps.folder import SweepFolder
from qframe.sweeps.job import JobSpec
from qframe.sweeps.objective import evaluations, objective
from qframe.sweeps.space import Space
from qframe.sweeps.spec import SpecMaker

LOOK = 1.0  # seconds between looks at evaluations
OWNER, RETRY_OF = "sweep_folder", "retry_of"


class TrialJobs:
    """Trials until there are ``total``, those of earlier launches counted.

    Args:
        study: Optuna's.
        storage: of the study, for heartbeats.
        space: what is sampled.
        folder: the sweep's.
        spec: makes a job of its number and overrides, or None of one that cannot run.
        total: trials in all.
        objective: ``best``, ``final`` or ``area``.
        retries: how often a failed job is tried again in one launch.
        heartbeat: seconds between signs of life.
    """

    def __init__(
        self,
        study: optuna.Study,
        storage: optuna.storages.RDBStorage,
        space: Space,
        *,
        folder: SweepFolder,
        spec: SpecMaker,
        total: int,
        objective: str = "best",
        retries: int = 0,
        heartbeat: int = 60,
    ) -> None:
        self._study, self._storage, self._space, self._folder, self._spec = study, storage, space, folder, spec
        self._total, self._objective, self._retries, self._heartbeat = total, objective, retries, heartbeat
        self._open: dict[int, list[int]] = {}  # the jobs of each open trial
        self._left: deque[int] = deque()
        self._active: set[int] = set()  # queued or running
        self._attempts: Counter[int] = Counter()
        self._reported: dict[int, int] = {}  # the last step of each open trial
        self._looked = self._beaten = 0.0
        for trial in study.get_trials(states=[TrialState.RUNNING]):
            if trial.user_attrs.get(OWNER) == str(folder.path):
                self._reported[trial.number] = max(trial.intermediate_values, default=0)
                self._enter(trial.number, trial.params)
        self._settle()
        self._beat()

    @property
    def counted(self) -> int:
        """Trials so far; one that was asked for again counts once."""
        trials = self._study.get_trials(deepcopy=False)
        again = sum(RETRY_OF in trial.user_attrs for trial in trials if trial.state != TrialState.WAITING)
        return sum(trial.state != TrialState.WAITING for trial in trials) - again

    def next(self) -> JobSpec | None:
        """The next job: of an open trial, else of a new one."""
        while self._left or self._may_ask():
            if not self._left:
                self._ask()
                continue
            number = self._left.popleft()
            self._attempts[number] += 1
            job = self._spec(number, self._folder.earlier()[number])
            if job is not None:
                return job
            self._active.discard(number)
            self._settle()
        return None

    def ended(self, job: JobSpec, summary: dict[str, Any]) -> None:
        """Try a failed job again, or tell Optuna once the trial's last job has ended."""
        status = summary.get("status")
        if status == "stopped":  # by a signal: the trial stays open, and goes on when launched again
            return
        if status == "failed" and self._attempts[job.number] <= self._retries:
            self._left.append(job.number)
            return
        self._active.discard(job.number)
        self._settle()

    def to_prune(self, running: Iterable[JobSpec]) -> dict[int, str]:
        """Report new evaluations; the jobs of trials that are not worth going on with."""
        now = time.monotonic()
        if now - self._beaten >= self._heartbeat:
            self._beat()
        if now - self._looked < LOOK:
            return {}
        self._looked = now
        stopped: dict[int, str] = {}
        numbers = {job.number for job in running}
        for trial_number, jobs in self._open.items():
            reason = self._report(trial_number, jobs)
            if reason is not None:
                for number in set(jobs) & set(self._left):
                    self._left.remove(number)
                    self._active.discard(number)
                stopped |= {number: reason for number in jobs if number in numbers}
        return stopped

    def _may_ask(self) -> bool:
        optuna.storages.fail_stale_trials(self._study)
        has_waiting = bool(self._study.get_trials(deepcopy=False, states=[TrialState.WAITING]))
        return has_waiting or self.counted < self._total

    def _ask(self) -> None:
        trial = self._study.ask(self._space.distributions)
        trial.set_user_attr(OWNER, str(self._folder.path))
        self._storage.record_heartbeat(trial._trial_id)
        self._enter(trial.number, trial.params)
        self._settle()

    def _enter(self, trial: int, params: dict[str, Any]) -> None:
        """Give the trial's jobs their numbers and let those wait that are not done."""
        numbered = self._folder.numbered(self._space.overrides(params))
        self._folder.write_jobs(numbered)
        self._open[trial] = list(numbered)
        new = [number for number in numbered if not self._folder.is_done(number) and number not in self._active]
        self._left.extend(new)
        self._active.update(new)

    def _settle(self) -> None:
        """Tell Optuna of the trials that have no job left."""
        for trial, jobs in list(self._open.items()):
            if not self._active.intersection(jobs):
                del self._open[trial]
                self._tell(trial, jobs)

    def _tell(self, trial: int, jobs: list[int]) -> None:
        """The mean objective; pruned when a job was; failed where a job has none."""
        statuses = [self._folder.summary(number).get("status") for number in jobs]
        scores = [objective(self._folder.job(number), self._objective) for number in jobs]
        numbers = [score for score in scores if score is not None and isfinite(score)]
        if "pruned" in statuses:
            self._study.tell(trial, state=TrialState.PRUNED)
        elif len(numbers) < len(jobs):
            self._study.tell(trial, state=TrialState.FAIL)
        else:
            self._study.tell(trial, sum(numbers) / len(numbers))

    def _report(self, number: int, jobs: list[int]) -> str | None:
        """Why the trial is to be pruned, by evaluations that all of its jobs have had; None to go on."""
        curves = [evaluations(self._folder.job(job)) for job in jobs]
        common = sorted(set.intersection(*(set(curve) for curve in curves)))
        new = [frames for frames in common if frames > self._reported.get(number, 0)]
        if not new:
            return None
        trial = optuna.Trial(self._study, self._trial_id(number))
        for frames in new:
            mean = sum(curve[frames] for curve in curves) / len(curves)
            trial.report(mean, frames)
            self._reported[number] = frames
            if trial.should_prune():
                return f"trial {number} pruned: evaluation {mean:.2f} at {frames:,} frames is behind the others'"
        return None

    def _beat(self) -> None:
        for number in self._open:
            self._storage.record_heartbeat(self._trial_id(number))
        self._beaten = time.monotonic()

    def _trial_id(self, number: int) -> int:
        return self._study.get_trials(deepcopy=False)[number]._trial_id
