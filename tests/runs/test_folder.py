"""A run's folder: what is read of whole and damaged files, and what it records of the code."""

import json
import os
import subprocess

import pytest

from qframe.runs.folder import QUIET, RunFolder, _git_revision, find_runs
from tests.runs.folders import DEAD, write_run


def test_a_finished_run_has_frames_score_and_curve(tmp_path):
    run = RunFolder(write_run(tmp_path / "a", score=9.5, curve=[(500, 3.0), (1000, 7.0)]))
    assert (run.status, run.frames, run.score) == ("finished", 1000, 9.5)
    assert run.evaluations == [(500, 3.0, 5.0), (1000, 7.0, 10.0)]
    assert run.config["env"]["id"] == "CartPole-v1"


def test_a_half_written_run_is_running_while_its_process_is_there_and_then_crashed(tmp_path):
    alive = RunFolder(write_run(tmp_path / "a", status="running", curve=[(500, 3.0)]))
    dead = RunFolder(write_run(tmp_path / "b", status="running", curve=[(500, 3.0)], process=DEAD))
    assert (alive.status, alive.frames, alive.score) == ("running", 500, None)
    assert (dead.status, dead.score, dead.is_finished) == ("crashed", None, False)


def test_a_score_beside_another_status_is_no_result(tmp_path):
    run = RunFolder(write_run(tmp_path / "a", status="running", process=DEAD, summary={"eval_return_mean": 500.0}))
    assert (run.status, run.score) == ("crashed", None)


def test_a_run_on_another_host_is_crashed_when_it_has_been_quiet(tmp_path):
    folder = write_run(tmp_path / "a", status="running", process={"host": "elsewhere", "pid": 1})
    assert RunFolder(folder).status == "running"
    for file in folder.iterdir():
        os.utime(file, (0, file.stat().st_mtime - QUIET - 5))
    assert RunFolder(folder).status == "crashed"


@pytest.mark.parametrize("damage", ["", "{", "[1, 2]", '{"status": 3}', "\xff"])
def test_a_damaged_summary_is_not_finished(damage, tmp_path):
    folder = write_run(tmp_path / "a", score=1.0, process=DEAD)
    (folder / "summary.json").write_bytes(damage.encode("latin-1"))
    assert RunFolder(folder).status == "crashed"


def test_damaged_files_read_as_empty(tmp_path):
    folder = write_run(tmp_path / "a", score=1.0, curve=[(500, 3.0)])
    (folder / "config.yaml").write_text("a: [b")
    (folder / "manifest.json").write_text("[]")
    with (folder / "metrics.jsonl").open("a") as file:
        file.write('{"frames": 10')
    run = RunFolder(folder)
    assert run.config == run.manifest == {}
    assert [log["frames"] for log in run.metrics] == [500]


def test_runs_are_found_under_a_folder_with_jobs_in_the_order_of_their_numbers(tmp_path):
    for name in ("10", "2", "9"):
        write_run(tmp_path / "sweeps" / "day" / "a" / name, score=1.0)
    write_run(tmp_path / "day" / "b", score=1.0)
    refused = tmp_path / "sweeps" / "day" / "a" / "11"
    refused.mkdir()
    (refused / "summary.json").write_text(json.dumps({"status": "refused"}))
    (tmp_path / "empty").mkdir()
    runs = find_runs(tmp_path)
    assert [run.path.name for run in runs] == ["b", "2", "9", "10", "11"]
    assert [run.is_job for run in runs] == [False, True, True, True, True]
    assert runs[-1].status == "refused"
    assert find_runs(runs[0].path) == [runs[0]]


def test_a_summary_that_was_just_written_is_the_one_that_is_read(tmp_path):
    run = RunFolder(tmp_path / "a")
    assert run.summary == {}
    run.write_summary({"status": "running", "frames": 4})
    assert run.summary == {"status": "running", "frames": 4}
    run.summary_file.write_text('{"status": "stopped", "frames": 8}')  # by another process
    assert run.update_summary({"overrides": ["seed=1"]})["frames"] == 8
    assert run.summary == {"status": "stopped", "frames": 8, "overrides": ["seed=1"]}


def test_a_revision_is_dirty_by_all_files_but_those_that_bench_writes(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    who = ["-c", "user.name=a", "-c", "user.email=a@b.c"]
    for words in (["init", "-q"], [*who, "commit", "-q", "--allow-empty", "-m", "first"]):
        subprocess.run(["git", *words], check=True)
    for results in (tmp_path / "results", tmp_path / "docs" / "results"):
        results.mkdir(parents=True)
        (results / "cartpole_dqn.json").write_text("{}")
    revision = _git_revision()
    assert revision is not None
    assert not revision["dirty"]
    assert len(revision["revision"]) == 40
    for place in (tmp_path / "results" / "mine.py", tmp_path / "loss.py"):
        place.write_text("")
        assert (_git_revision() or {})["dirty"]
        place.unlink()
