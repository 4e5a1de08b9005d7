import json

import pytest

from qframe.cli.main import main
from qframe.cli.rerun import compared
from qframe.runs.folder import RunFolder
from tests.runs.folders import write_run

SMALL = ["total_frames=400", "runner.learning_starts=100", "evaluation.every=200", "evaluation.episodes=1"]


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    sizes = [*SMALL, "evaluation.final_episodes=1", "logger.every=100", "logger.tensorboard=false"]
    assert main(["train", *sizes, "hydra.run.dir=run"]) == 0
    return tmp_path / "run"


def test_a_run_comes_out_the_same_once_more(run, capsys):
    assert main(["rerun", "run", "--dir", "again"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "the same in all 6 logs"
    assert (run / "config.yaml").read_text() == (run.parent / "again" / "config.yaml").read_text()
    assert main(["rerun", "run", "--dir", "again"]) == 2
    assert "--dir: 'again' exists and is not an empty folder" in capsys.readouterr().err


def test_a_changed_version_is_reported(run, capsys):
    manifest = json.loads((run / "manifest.json").read_text())
    manifest["versions"]["torch"] = "1.0"
    (run / "manifest.json").write_text(json.dumps(manifest))
    assert main(["rerun", "run"]) == 0
    assert "changed since: torch was 1.0, is " in capsys.readouterr().out
    assert len(list((run.parent / "outputs").glob("*/*-s1/summary.json"))) == 1


def test_the_first_difference_is_named(tmp_path):
    first = RunFolder(write_run(tmp_path / "a", score=1.0, curve=[(500, 3.0), (1000, 4.0)]))
    second = RunFolder(write_run(tmp_path / "b", score=1.0, curve=[(500, 3.0), (1000, 5.0)]))
    text = "differs from 1,000 frames on: eval/episode_return was 4.0, is 5.0"
    assert compared(first, second) == (True, text)
    shorter = RunFolder(write_run(tmp_path / "c", status="stopped", curve=[(500, 3.0)]))
    assert "the same in the 1 logs that both have; the earlier run (stopped) has 1" in compared(shorter, first).message
    stopped = RunFolder(write_run(tmp_path / "d", score=1.0, curve=[(500, 3.0), (700, 8.0), (1000, 9.0), (1500, 6.0)]))
    whole = RunFolder(write_run(tmp_path / "e", score=1.0, curve=[(500, 3.0), (1000, 4.0), (1500, 6.0)]))
    assert compared(stopped, whole) == (
        False, "the same in the 2 logs that both have; the earlier run (finished) has 4"
    )  # fmt: skip


def test_logs_that_only_one_run_has_are_a_difference(tmp_path):
    def run(name, curve, **choices):
        return RunFolder(write_run(tmp_path / name, score=1.0, curve=curve, **choices))

    whole, shorter = run("a", [(500, 3.0), (1000, 4.0)]), run("b", [(500, 3.0)])
    assert compared(whole, shorter) == (True, "differs from 1,000 frames on: only the earlier run has a log there")
    assert compared(shorter, whole) == (True, "differs from 1,000 frames on: only the new run has a log there")
    sparse = run("c", [(1000, 4.0)], status="stopped")
    assert compared(sparse, whole) == (True, "differs from 500 frames on: only the new run has a log there")
    more = run("d", [(500, 3.0), (1000, 4.0)])
    path = tmp_path / "d" / "metrics.jsonl"
    path.write_text(path.read_text().replace('"frames": 500', '"eval/more": 1.0, "frames": 500', 1))
    assert compared(whole, more) == (True, "differs from 500 frames on: eval/more was –, is 1.0")


def test_a_difference_sets_the_exit_status(run, capsys):
    path = run / "metrics.jsonl"
    first, *rest = path.read_text().splitlines()
    log = json.loads(first)
    path.write_text("\n".join([json.dumps(log | {"exploration/epsilon": 2.0}), *rest, ""]))
    assert main(["rerun", "run", "--dir", "again"]) == 1
    message = f"differs from {log['frames']} frames on: exploration/epsilon was 2.0, is {log['exploration/epsilon']}"
    assert capsys.readouterr().out.splitlines()[-1] == message


def test_a_run_with_changes_is_trained_and_not_compared(run, capsys):
    assert main(["rerun", "run", "seed=2", "--dir", "second"]) == 0
    assert "the same" not in capsys.readouterr().out
    configs = [RunFolder(run.parent / name).config for name in ("run", "second")]
    assert [config.pop("seed") for config in configs] == [1, 2]
    assert configs[0] == configs[1]
    assert main(["rerun", "run", "head=quantile"]) == 2
    assert "'head=quantile': a run is trained again with its own parts" in capsys.readouterr().err
