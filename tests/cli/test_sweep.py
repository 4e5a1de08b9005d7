"""Sweeps of the toy, in this process: what is launched again, what a dry run shows, what resuming a sweep does."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import qframe
from hydra_plugins.qframe_sweeps import require
from qframe.cli.main import main
from qframe.errors import UserError
from qframe.runs.folder import job_number
from tests.config import toy as toys

FOLDER = Path("here")


def sweep(*words: str) -> int:
    return main(["train", "-m", *words, "hydra/launcher=basic", f"hydra.sweep.dir={FOLDER}"])


def statuses() -> dict[str, str]:
    return {job: summary["status"] for job, summary in summaries().items()}


def summaries() -> dict[str, dict[str, Any]]:
    """The summaries of the jobs by number."""
    files = sorted(FOLDER.glob("*/summary.json"))
    return {str(job_number(file.parent.name)): json.loads(file.read_text()) for file in files}


@pytest.fixture
def built(monkeypatch):
    """The seeds of the runs that were built, in order."""
    seeds: list[int] = []
    run = toys.ToyRunner.run
    monkeypatch.setattr(toys.ToyRunner, "run", lambda runner: (seeds.append(runner.seed), run(runner))[1])
    return seeds


def test_launched_again_a_sweep_runs_only_what_is_left(toy, built):
    assert sweep("seed=1,13,2") == 1
    assert statuses() == {"0": "finished", "1": "failed", "2": "finished"}
    assert built == [1, 13, 2, 13]  # a failed job is tried once more
    assert sweep("seed=1,13,2") == 1
    assert built[4:] == [13, 13]


def test_more_values_are_more_jobs_and_the_others_keep_their_numbers(toy, built):
    assert sweep("seed=1,2") == 0
    assert sweep("seed=0,1,2,3") == 0
    assert built == [1, 2, 0, 3]
    assert sorted(path.name for path in FOLDER.iterdir() if path.is_dir()) == [
        "0-seed=1", "1-seed=2", "2-seed=0", "3-seed=3"
    ]  # fmt: skip
    assert {job: summary["overrides"] for job, summary in summaries().items()} == {
        "0": ["seed=1"], "1": ["seed=2"], "2": ["seed=0"], "3": ["seed=3"]
    }  # fmt: skip


def test_resume_launches_the_sweep_with_its_own_overrides_and_new_ones(toy, monkeypatch, capsys):
    assert sweep("seed=1,15", "name=mine") == 143
    assert "1 of 2 jobs are left: qframe resume here" in capsys.readouterr().out
    monkeypatch.setattr(toys.ToyRunner, "run", lambda runner: {"status": "finished", "eval_return_mean": 1.0})
    assert main(["resume", "here"]) == 0
    assert statuses() == {"0": "finished", "1": "finished"}
    assert main(["resume", "here", "seed=1,2,15"]) == 0
    assert sorted(statuses()) == ["0", "1", "2"]


def test_a_dry_run_shows_the_jobs_and_writes_nothing(toy, built, capsys):
    assert main(["train", "-m", "--dry-run", "seed=1,2", "head=default,other", "env.num_envs=3"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split() for line in lines[:4]] == [
        ["0", "seed=1", "head=default", "new"],
        ["1", "seed=1", "head=other", "new"],
        ["2", "seed=2", "head=default", "new"],
        ["3", "seed=2", "head=other", "new"],
    ]
    assert not Path("outputs").exists()
    sweep("seed=1,13")
    capsys.readouterr()
    assert main(["train", "-m", "--dry-run", "seed=1,13,2", f"hydra.sweep.dir={FOLDER}"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(maxsplit=2)[2] for line in lines[:3]] == ["finished: skipped", "failed: starts again", "new"]
    assert built == [1, 13, 13]


def test_many_jobs_are_announced_before_they_are_composed(toy, capsys):
    assert main(["train", "-m", "--dry-run", "seed=range(40)"]) == 0
    assert capsys.readouterr().out.startswith("checking the configs of 40 jobs\n")


def test_zipped_keys_on_the_command_line(toy):
    assert sweep("seed=1,2", "gamma=0.5,0.9", "hydra.sweeper.zip=[seed,gamma]") == 0
    assert [summary["overrides"] for summary in summaries().values()] == [
        ["seed=1", "gamma=0.5"], ["seed=2", "gamma=0.9"]
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["hydra.sweeper.zip=[seed,gama]"], "hydra.sweeper.zip: the key 'gama' does not have several values"),
        (["hydra.sweeper.objective=mean"], "hydra.sweeper.objective: expected one of best, final, area, got 'mean'"),
        (["hydra.sweeper.retrys=2"], "retrys"),
        (["gamma=interval(0.9,1.0)"], "or use hydra/sweeper=optuna"),
        (["hydra/sweeper=gird"], "hydra/sweeper"),
    ],
)
def test_an_impossible_sweep_is_refused_before_anything_is_written(toy, words, message, capsys):
    assert sweep("seed=1,2", *words) == 2
    printed = capsys.readouterr().err
    assert message in printed
    assert "Traceback" not in printed
    assert not FOLDER.exists()


def test_a_dry_run_of_a_single_run_is_refused(toy, capsys):
    assert main(["train", "--dry-run"]) == 2
    assert "--dry-run is for sweeps (-m); to check a single run, use qframe check" in capsys.readouterr().err


def test_a_sweep_on_a_folder_with_other_things_is_refused(toy, capsys):
    toys.write(FOLDER / "notes.txt", "mine")
    assert sweep("seed=1,2") == 2
    assert "exists and is not an empty folder" in capsys.readouterr().err


def test_a_sweep_that_runs_is_reported_before_its_jobs_are_composed(toy, monkeypatch, capsys):
    assert sweep("seed=1") == 0
    code = "import sys; from qframe.runs.lock import FolderLock; from pathlib import Path"
    code += "; lock = FolderLock(Path('here/sweep.lock'), ''); lock.acquire(); print(flush=True); sys.stdin.read()"
    environment = os.environ | {"PYTHONPATH": str(Path(qframe.__file__).parents[1])}
    words = [sys.executable, "-c", code]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment) as other:
        assert other.stdout is not None
        other.stdout.readline()
        monkeypatch.delattr("qframe.sweeps.sweep.samples")
        assert sweep("seed=1,2") == 2
        other.communicate()
    message = f"/here is being run by process {other.pid} on "
    assert message in capsys.readouterr().err


def test_sweeps_that_start_in_the_same_second_have_folders_of_their_own(toy):
    words = ["train", "-m", "seed=1", "hydra/launcher=basic", "hydra.sweep.dir=sweeps/${now:%Y}-${name}"]
    assert main(words) == main(words) == 0
    assert len(list(Path("sweeps").iterdir())) == 2


@pytest.mark.parametrize("folder", ["${x}", "${now:%Y}", "a,b=[c]"])
def test_a_folder_whose_name_looks_like_an_interpolation_is_none(toy, built, monkeypatch, folder):
    Path(folder).mkdir()
    monkeypatch.chdir(folder)
    assert sweep("seed=1,2") == 0
    assert built == [1, 2]
    assert statuses() == {"0": "finished", "1": "finished"}


def test_a_job_of_another_launcher_has_the_config_that_was_checked(toy, built):
    toys.write(toy.conf / "env" / "mine.yaml", "defaults: [default, _self_]\nbrings: {seed: 5}\n")
    assert sweep("env=mine", "gamma=0.5,0.6") == 0
    assert built == [5, 5]


def test_a_job_that_another_launcher_cannot_start_has_failed(toy, monkeypatch, capsys):
    def broken(self, config):
        raise OSError("no such queue")

    monkeypatch.setattr("qframe.sweeps.job.Job.__call__", broken)
    assert sweep("seed=1,2") == 1
    assert {summary["reason"] for summary in summaries().values()} == {"no such queue"}
    assert statuses() == {"0": "failed", "1": "failed"}


def test_a_search_needs_a_launcher_that_can_prune(toy, capsys):
    assert sweep("hydra/sweeper=optuna", "gamma=interval(0.9,1)") == 2
    assert "only qframe's launchers can prune trials; use local, ray or submitit" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["seed=1,2"], "there is nothing to search; add values, e.g."),
        (["gamma=interval(0.9,1)", "hydra.sweeper.trials=0"], "hydra.sweeper.trials: must be at least 1, got 0"),
        (["gamma=interval(0.9,1)", "hydra.sweeper.sampler=tpo"], "expected one of tpe, gp, random, got 'tpo'"),
        (["gamma=interval(0.9,1)", "hydra.sweeper.pruner=men"], "expected median, halving or null, got 'men'"),
        (["gamma=interval(0.9,1)", "hydra.sweeper.storage=nowhere"], "cannot open the database '"),
        (["gamma=interval(0.9,1)", "hydra.sweeper.trails=3"], "hydra.sweeper"),
        (["gamma=interval(0.9,1)", "env.num_env=3"], "nearest is 'env.num_envs'"),
    ],
)
def test_an_impossible_search_is_refused(toy, words, message, capsys):
    assert main(["train", "-m", "hydra/sweeper=optuna", *words, f"hydra.sweep.dir={FOLDER}"]) == 2
    printed = capsys.readouterr()
    assert message in printed.err
    assert "Traceback" not in printed.err
    assert printed.out == ""
    assert not FOLDER.exists()


def test_a_missing_package_is_reported_with_the_command_that_installs_it():
    message = r"'no_such_package', which cannot be imported .*; pip install -e \".*\[optuna\]\""
    with pytest.raises(UserError, match=message):
        require("no_such_package", extra="optuna")
