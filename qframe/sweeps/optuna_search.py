"""A search by Optuna as a sweep: its database, its loop, and what it found."""

import warnings
from typing import Any

import optuna
from hydra.plugins.launcher import Launcher
from optuna.exceptions import ExperimentalWarning
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy.exc import SQLAlchemyError

from qframe.errors import ConfigError, Fault, UserError
from qframe.sweeps.folder import SweepFolder
from qframe.sweeps.grid import needs_of
from qframe.sweeps.loop import run_jobs
from qframe.sweeps.progress_board import SweepBoard, varied_among
from qframe.sweeps.search import OWNER, RETRY_OF, TrialJobs
from qframe.sweeps.space import Space, pruner, sampler, shown
from qframe.sweeps.spec import SpecMaker, composition


def search(
    space: Space, folder: SweepFolder, *, launcher: Launcher, spec: SpecMaker, options: dict[str, Any]
) -> optuna.Study:
    """Run trials until there are as many as asked for, and tell the best.

    Args:
        space: what is sampled.
        folder: the sweep's.
        launcher: one of qframe's.
        spec: makes the jobs.
        options: the sweeper's keys.

    Raises:
        UserError: a launcher that cannot prune, a database that cannot be opened, or a space that has changed.
    """
    engine_for = getattr(launcher, "engine", None)
    if engine_for is None:
        raise UserError("hydra/launcher: expected one of qframe's, which can prune trials; use local, ray or submitit")
    if options["trials"] < 1:
        raise ConfigError([Fault("hydra.sweeper.trials", f"expected at least 1, got {options['trials']}")])
    warnings.filterwarnings("ignore", category=ExperimentalWarning)  # heartbeats are, since 2021
    warnings.filterwarnings("ignore", message="Heartbeat of storage")  # TrialJobs sends them itself
    url = options["storage"] or f"sqlite:///{folder.path / 'optuna.db'}"
    storage = open_storage(url, heartbeat=options["heartbeat"], retries=options["retries"])
    study = _study(storage, folder, options)
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
        board = SweepBoard(left or None, varied_among([space.fixed, space.fixed]))
        first = space.overrides({key: _any(distribution) for key, distribution in space.distributions.items()})
        needs = needs_of([composition(spec.loader, overrides).config for overrides in first])
        run_jobs(jobs, engine_for(needs=needs, say=board.say), board)
    except ValueError as error:
        if "dynamic value space" not in str(error) and "compatible" not in str(error):
            raise
        message = f"expected the space of the earlier trials, got another ({error}); choose another folder"
        raise UserError(message) from error
    finally:
        _tell(study, space, folder)
    return study


def open_storage(url: str, *, heartbeat: int, retries: int) -> optuna.storages.RDBStorage:
    """The database; trials whose heartbeat stopped are failed, and asked for again.

    Raises:
        UserError: it cannot be opened.
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
        message = f"expected a database that can be opened, got '{url}': {reason}"
        raise ConfigError([Fault("hydra.sweeper.storage", message)]) from error


def _study(storage: optuna.storages.RDBStorage, folder: SweepFolder, options: dict[str, Any]) -> optuna.Study:
    """The study: of the sweep's own database, or, in a shared one, of the sweep's name."""
    name = options["study"] or folder.path.name
    earlier = {summary.study_name: summary.n_trials for summary in optuna.get_all_study_summaries(storage)}
    return optuna.create_study(
        storage=storage,
        study_name=name,
        direction="maximize",
        load_if_exists=True,
        # another seed at every launch: the same one would propose the same trials again
        sampler=sampler(options["sampler"], options["seed"] + earlier.get(name, 0)),
        pruner=pruner(options["pruner"], startup_trials=options["startup_trials"]),
    )


def _any(distribution: optuna.distributions.BaseDistribution) -> Any:
    """Some value of a distribution."""
    choices = getattr(distribution, "choices", None)
    return choices[0] if choices else getattr(distribution, "low", None)


def _tell(study: optuna.Study, space: Space, folder: SweepFolder) -> None:
    """How many trials there are, and the best."""
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
        print(f"best: trial {best.number} (jobs {jobs}), {best.value:.2f}: {' '.join(shown(best.params))}")
