"""An Optuna search as a sweep: trials are requested one by one, pruned by evaluations, and kept in a database.

A trial whose process was killed stays ``RUNNING`` in the database. A sweep that is launched again continues its own
open trials, whose jobs resume from their checkpoints; trials of other machines on the same database whose heartbeat
has stopped are failed and requested again.
"""

import time
import warnings
from collections import Counter, deque
from collections.abc import Iterable
from contextlib import ExitStack
from math import isfinite
from typing import Any

import optuna
from hydra.core.config_loader import ConfigLoader
from hydra.plugins.launcher import Launcher
from optuna.exceptions import ExperimentalWarning
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy.exc import SQLAlchemyError

from qframe.errors import ConfigError, Fault, UserError
from qframe.formatting import format_score
from qframe.sweeps.best_preset import write_preset
from qframe.sweeps.folder import SweepFolder
from qframe.sweeps.grid import needs_of
from qframe.sweeps.job_spec import JobSpec, SpecMaker, composition
from qframe.sweeps.loop import run_jobs
from qframe.sweeps.objective import evaluations, objective
from qframe.sweeps.progress_board import ProgressBoard
from qframe.sweeps.search_space import Space, format_parameters, pruner, sampler

LOOK = 1.0  # seconds between two reads of the evaluations
OWNER, RETRY_OF = "sweep_folder", "retry_of"


def search(
    space: Space, folder: SweepFolder, *, launcher: Launcher, spec: SpecMaker, options: dict[str, Any]
) -> optuna.Study:
    """Run trials up to the number requested, and print the best.

    Args:
        space: of the search.
        folder: the sweep's folder.
        launcher: one of qframe's.
        spec: makes the jobs.
        options: the sweeper's keys.

    Raises:
        UserError: the launcher cannot prune, the database cannot be opened, or the space has changed.
    """
    engine_for = getattr(launcher, "engine", None)
    if engine_for is None:
        raise UserError("hydra/launcher: only qframe's launchers can prune trials; use local, ray or submitit")
    if options["trials"] < 1:
        raise ConfigError([Fault("hydra.sweeper.trials", f"must be at least 1, got {options['trials']}")])
    warnings.filterwarnings("ignore", category=ExperimentalWarning)  # heartbeats have been experimental since 2021
    warnings.filterwarnings("ignore", message="Heartbeat of storage")  # TrialJobs sends heartbeats itself
    url = options["storage"] or f"sqlite:///{folder.path / 'optuna.db'}"
    storage = open_storage(url, heartbeat=options["heartbeat"], retries=options["retries"])
    with ExitStack() as ended:
        ended.callback(close, storage)
        study = _study(storage, folder, options)
        ended.callback(_print_best, study, space, folder, spec.loader)
        try:
            jobs = TrialJobs(
                study,
                storage,
                space,
                folder=folder,
                spec=spec,
                total=options["trials"],
                objective=options["objective"],
                retries=options["retries"],
                heartbeat=options["heartbeat"],
            )
            left = max(0, options["trials"] - jobs.counted) * len(space.repeats)
            board = ProgressBoard(left or None, space.swept)
            first = space.overrides({key: _any(distribution) for key, distribution in space.distributions.items()})
            needs = needs_of([composition(spec.loader, overrides).config for overrides in first])
            run_jobs(jobs, engine_for(needs=needs, say=board.say), board)
        except ValueError as error:
            if "dynamic value space" not in str(error) and "compatible" not in str(error):
                raise
            message = f"the space differs from that of the earlier trials ({error}); choose another folder"
            raise UserError(message) from error
    return study


def open_storage(url: str, *, heartbeat: int, retries: int) -> optuna.storages.RDBStorage:
    """The database of trials; a trial whose heartbeat has stopped is failed and requested again.

    Raises:
        ConfigError: it cannot be opened.
    """

    def ask_again(study: optuna.Study, trial: FrozenTrial) -> None:
        times = int(trial.user_attrs.get("times", 0))
        if times < max(1, retries):
            study.enqueue_trial(trial.params, user_attrs={RETRY_OF: trial.number, "times": times + 1})

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    waits = {"connect_args": {"timeout": 60}} if url.startswith("sqlite") else {}
    try:
        return optuna.storages.RDBStorage(
            url,
            heartbeat_interval=heartbeat,
            grace_period=3 * heartbeat,
            heartbeat_stale_trial_callback=ask_again,
            engine_kwargs=waits,
        )
    except (SQLAlchemyError, ImportError, ValueError) as error:
        reason = str(error).splitlines()[0]
        message = f"cannot open the database '{url}': {reason}"
        raise ConfigError([Fault("hydra.sweeper.storage", message)]) from error


def close(storage: optuna.storages.RDBStorage) -> None:
    """Close the connections to the database, which Optuna leaves open."""
    storage.remove_session()
    storage.engine.dispose()


def _study(storage: optuna.storages.RDBStorage, folder: SweepFolder, options: dict[str, Any]) -> optuna.Study:
    """The study in the database, by default named like the sweep's folder."""
    name = options["study"] or folder.path.name
    earlier = {summary.study_name: summary.n_trials for summary in optuna.get_all_study_summaries(storage)}
    return optuna.create_study(
        storage=storage,
        study_name=name,
        direction="maximize",
        load_if_exists=True,
        # a new seed at every launch: the same one would propose the same trials again
        sampler=sampler(options["sampler"], options["seed"] + earlier.get(name, 0)),
        pruner=pruner(options["pruner"], startup_trials=options["startup_trials"]),
    )


def _any(distribution: optuna.distributions.BaseDistribution) -> Any:
    """Any value of a distribution."""
    choices = getattr(distribution, "choices", None)
    return choices[0] if choices else getattr(distribution, "low", None)


def _print_best(study: optuna.Study, space: Space, folder: SweepFolder, loader: ConfigLoader) -> None:
    """Print the number of trials by state and the best trial, and write a preset that trains it."""
    trials = [trial for trial in study.get_trials(deepcopy=False) if OWNER in trial.user_attrs]
    states = {state: sum(trial.state == state for trial in trials) for state in TrialState}
    names = {TrialState.COMPLETE: "finished", TrialState.PRUNED: "pruned", TrialState.FAIL: "failed"}
    names[TrialState.RUNNING] = "unfinished"
    counts = [f"{states[state]} {name}" for state, name in names.items() if states[state]]
    print(f"{len(trials)} trials: {', '.join(counts)}")
    finished = [trial for trial in trials if trial.state == TrialState.COMPLETE]
    if finished:
        best = study.best_trial
        jobs = " ".join(map(str, folder.numbered(space.overrides(best.params))))
        parameters = " ".join(format_parameters(best.params))
        print(f"best: trial {best.number} (jobs {jobs}), {format_score(best.value)}: {parameters}")
        print(f"best preset   {write_preset(folder, loader, space.overrides(best.params)[0])}")


class TrialJobs:
    """The jobs of trials, until there are ``total`` trials including those of earlier launches.

    Args:
        study: Optuna's study.
        storage: of the study, for heartbeats.
        space: of the search.
        folder: the sweep's folder.
        spec: makes the job of a number and overrides, or None if it cannot run.
        total: number of trials.
        objective: ``best``, ``final`` or ``area``.
        retries: how often a failed job is tried again in one launch.
        heartbeat: seconds between heartbeats.
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
        """The number of trials so far; one that was requested again counts once."""
        trials = self._study.get_trials(deepcopy=False)
        again = sum(RETRY_OF in trial.user_attrs for trial in trials if trial.state != TrialState.WAITING)
        return sum(trial.state != TrialState.WAITING for trial in trials) - again

    def next(self) -> JobSpec | None:
        """The next job of an open trial, else of a new one."""
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
        """Retry a failed job, or report the trial to Optuna once its last job has ended."""
        status = summary.get("status")
        if status == "stopped":  # by a signal: the trial stays open until the sweep is launched again
            return
        if status == "failed" and self._attempts[job.number] <= self._retries:
            self._left.append(job.number)
            return
        self._active.discard(job.number)
        self._settle()

    def to_prune(self, running: Iterable[JobSpec]) -> dict[int, str]:
        """Report new evaluations to Optuna; the jobs of the trials that it prunes."""
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
        """Number the trial's jobs and queue those that are not done."""
        numbered = self._folder.numbered(self._space.overrides(params))
        self._folder.write_jobs(numbered, self._space.swept)
        self._open[trial] = list(numbered)
        new = [number for number in numbered if not self._folder.is_done(number) and number not in self._active]
        self._left.extend(new)
        self._active.update(new)

    def _settle(self) -> None:
        """Report the trials that have no job left to Optuna."""
        for trial, jobs in list(self._open.items()):
            if not self._active.intersection(jobs):
                del self._open[trial]
                self._tell(trial, jobs)

    def _tell(self, trial: int, jobs: list[int]) -> None:
        """Report the mean objective; the trial is pruned if a job was, and failed if a job has no objective."""
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
        """The reason to prune the trial, judged by the evaluations that all of its jobs have had; None to continue."""
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
                score = format_score(mean)
                return f"trial {number} pruned: evaluation {score} at {frames:,} frames is behind the others'"
        return None

    def _beat(self) -> None:
        for number in self._open:
            self._storage.record_heartbeat(self._trial_id(number))
        self._beaten = time.monotonic()

    def _trial_id(self, number: int) -> int:
        return self._study.get_trials(deepcopy=False)[number]._trial_id
