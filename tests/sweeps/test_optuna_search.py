"""Trials of a search, with jobs whose results the test writes down."""

import json
import math
import warnings

import optuna
import pytest
from optuna.distributions import FloatDistribution

from qframe.config.hydra_app import hydra_app
from qframe.errors import ConfigError
from qframe.runs.folder import write_json
from qframe.sweeps.folder import SweepFolder
from qframe.sweeps.job_spec import JobSpec
from qframe.sweeps.optuna_search import TrialJobs, close, open_storage
from qframe.sweeps.search_space import Space, space

TWO_SEEDS = Space({"gamma": FloatDistribution(0.5, 1.0)}, ("name=x",), [("seed=1",), ("seed=2",)])


opened = []


@pytest.fixture(autouse=True)
def _closed():
    yield
    while opened:
        close(opened.pop())


class Search:
    """A launch of a search in a folder."""

    def __init__(self, path, *, total=2, retries=0, heartbeat=60, owner="here", pruner=None):
        warnings.simplefilter("ignore")
        self.folder = SweepFolder(path / owner)
        self.storage = open_storage(f"sqlite:///{path / 'optuna.db'}", heartbeat=heartbeat, retries=1)
        opened.append(self.storage)
        self.launch = len(list(path.glob("launch*")))
        (path / f"launch{self.launch}").touch()
        self.study = optuna.create_study(
            storage=self.storage, study_name="s", direction="maximize", load_if_exists=True, pruner=pruner,
            sampler=optuna.samplers.RandomSampler(seed=self.launch),
        )  # fmt: skip
        self.jobs = TrialJobs(
            self.study, self.storage, TWO_SEEDS, folder=self.folder, total=total, retries=retries,
            spec=lambda number, overrides: JobSpec(number, self.folder.job(number), overrides, {}),
        )  # fmt: skip

    def end(self, job, score=1.0, status="finished"):
        summary = {"status": status, "eval_return_mean": score}
        write_json(job.folder / "summary.json", summary)
        self.jobs.ended(job, summary)

    def evaluate(self, job, frames, value):
        job.folder.mkdir(parents=True, exist_ok=True)
        with (job.folder / "metrics.jsonl").open("a") as file:
            file.write(json.dumps({"frames": frames, "eval/episode_return": value}) + "\n")

    def run(self, scores):
        for score in scores:
            self.end(self.jobs.next(), score)
        return self

    @property
    def states(self):
        return [trial.state.name for trial in self.study.trials]


def test_a_trial_runs_every_seed_and_its_value_is_the_mean(tmp_path):
    search = Search(tmp_path, total=1)
    first, second = search.jobs.next(), search.jobs.next()
    assert [job.overrides[0] for job in (first, second)] == ["name=x", "name=x"]
    assert [job.overrides[2] for job in (first, second)] == ["seed=1", "seed=2"]
    assert first.overrides[1] == second.overrides[1]
    search.end(second, 3.0)
    assert search.states == ["RUNNING"]
    search.end(first, 6.0)
    assert search.study.trials[0].value == 4.5
    assert search.jobs.next() is None


def test_trials_are_a_total_over_launches_and_not_so_many_more(tmp_path):
    assert Search(tmp_path, total=2).run([1.0] * 4).jobs.next() is None
    again = Search(tmp_path, total=3).run([1.0] * 2)
    assert again.jobs.next() is None
    assert again.states == ["COMPLETE"] * 3
    assert Search(tmp_path, total=3).jobs.next() is None


def test_a_killed_launch_leaves_its_trials_to_the_next(tmp_path):
    killed = Search(tmp_path, total=1)
    first, second = killed.jobs.next(), killed.jobs.next()
    killed.end(first, 2.0)
    again = Search(tmp_path, total=1)
    job = again.jobs.next()
    assert (job.number, job.overrides) == (second.number, second.overrides)
    again.end(job, 4.0)
    assert again.jobs.next() is None
    assert again.study.trials[0].value == 3.0


def test_a_launch_killed_between_the_last_job_and_telling_loses_nothing(tmp_path):
    killed = Search(tmp_path, total=1)
    for _ in range(2):
        write_json(killed.jobs.next().folder / "summary.json", {"status": "finished", "eval_return_mean": 7.0})
    again = Search(tmp_path, total=1)
    assert again.jobs.next() is None
    assert again.study.trials[0].value == 7.0


@pytest.mark.parametrize("score", [math.nan, None, math.inf])
def test_a_score_that_is_no_number_is_a_failed_trial(tmp_path, score):
    assert Search(tmp_path, total=1).run([1.0, score]).states == ["FAIL"]


def test_a_failed_job_is_tried_again_and_then_fails_its_trial(tmp_path):
    search = Search(tmp_path, total=1, retries=1)
    job = search.jobs.next()
    search.end(job, None, "failed")
    search.end(search.jobs.next(), 1.0)
    assert search.jobs.next().number == job.number
    search.end(job, None, "failed")
    assert search.states == ["FAIL"]


def test_equal_trials_are_one_job_whose_result_both_have(tmp_path):
    search = Search(tmp_path, total=2)
    search.study.enqueue_trial({"gamma": 0.75})
    search.study.enqueue_trial({"gamma": 0.75})
    search.run([2.0, 4.0])
    assert search.jobs.next() is None
    assert [trial.value for trial in search.study.trials] == [3.0, 3.0]


def test_a_stopped_trial_stays_open(tmp_path):
    search = Search(tmp_path, total=1)
    search.end(search.jobs.next(), None, "stopped")
    assert search.states == ["RUNNING"]
    assert Search(tmp_path, total=1).jobs.next().number == 0


def test_a_trial_behind_the_median_is_pruned_by_the_mean_of_its_evaluations(tmp_path, monkeypatch):
    monkeypatch.setattr("qframe.sweeps.optuna_search.LOOK", 0.0)
    search = Search(tmp_path, total=3, pruner=optuna.pruners.MedianPruner(n_startup_trials=1))
    good = [search.jobs.next(), search.jobs.next()]
    for job in good:
        search.evaluate(job, 1000, 10.0)
    assert search.jobs.to_prune(good) == {}
    for job in good:
        search.end(job, 10.0)
    bad = [search.jobs.next(), search.jobs.next()]
    search.evaluate(bad[0], 1000, 1.0)
    assert search.jobs.to_prune(bad) == {}  # the other seed has had no evaluation yet
    search.evaluate(bad[1], 1000, 2.0)
    reason = "trial 1 pruned: evaluation 1.50 at 1,000 frames is behind the others'"
    assert search.jobs.to_prune(bad) == {2: reason, 3: reason}
    for job in bad:
        search.end(job, None, "pruned")
    assert search.states == ["COMPLETE", "PRUNED"]
    assert search.study.trials[1].intermediate_values == {1000: 1.5}


def test_a_dead_trial_of_another_machine_is_requested_once_more(tmp_path, monkeypatch):
    other = Search(tmp_path, total=1, heartbeat=1, owner="there")
    there = other.jobs.next()
    monkeypatch.setattr(other.storage, "grace_period", 1)
    here = Search(tmp_path, total=1, heartbeat=1)
    assert here.jobs.next() is None  # it may be alive
    with other.storage.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE trial_heartbeats SET heartbeat = '2001-01-01 00:00:00'")
    job = here.jobs.next()
    assert job.overrides == there.overrides
    here.end(job, 1.0)
    here.end(here.jobs.next(), 1.0)
    assert here.states == ["FAIL", "COMPLETE"]
    assert here.jobs.next() is None


def test_the_space_by_hydras_grammar():
    intervals = ["a=interval(0,1)", "b=tag(log,interval(1e-4,1e-2))", "c=int(interval(2,8))"]
    texts = [*intervals, "d=range(1,10,2)", "e=x,y", "f=7"]
    with hydra_app() as app:
        found = space([*texts, "seed=1,2"], ["a=5", "g=1,2"], ["seed"], app.config_loader)
        with pytest.raises(ConfigError, match="there is nothing to search"):
            space(["seed=1,2"], [], ["seed"], app.config_loader)
        with pytest.raises(ConfigError, match="a: cannot search these values"):
            space(["a=interval(1,0)"], [], [], app.config_loader)
    assert {key: str(kind) for key, kind in found.distributions.items()} == {
        "a": "FloatDistribution(high=1.0, log=False, low=0.0, step=None)",
        "b": "FloatDistribution(high=0.01, log=True, low=0.0001, step=None)",
        "c": "IntDistribution(high=8, log=False, low=2, step=1)",
        "d": "IntDistribution(high=9, log=False, low=1, step=2)",
        "e": "CategoricalDistribution(choices=('x', 'y'))",
        "g": "CategoricalDistribution(choices=('1', '2'))",
    }
    assert (found.fixed, found.repeats) == (("f=7",), [("seed=1",), ("seed=2",)])
