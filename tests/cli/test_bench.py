"""``qframe bench``: seeds as processes, what is finished kept, a verdict and a file that repeats it."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from qframe.cli import bench_seeds
from qframe.cli.bench_seeds import import_path
from qframe.cli.main import main

PRESET = """# @package _global_
# A short run
score: {{algorithm: DQN, expected: {expected}, metric: eval_return_mean, protocol: greedy, seeds: 2}}
name: short
total_frames: {frames}
compile: false
runner: {{learning_starts: 100}}
evaluation: {{every: 200, episodes: 2, final_episodes: 2}}
logger: {{tensorboard: false}}
"""
BENCH = ["bench", "short", "--config-dir", "own"]


@pytest.fixture
def own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return preset()


def preset(expected=5, frames=400):
    file = Path("own/experiment/short.yaml")
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(PRESET.format(expected=expected, frames=frames))
    return file


def finished(seed, score):
    """A run folder as a finished run leaves it."""
    folder = Path(f"outputs/bench/short/s{seed}")
    folder.mkdir(parents=True)
    summary = {"status": "finished", "seed": seed, "eval_return_mean": score, "wall_seconds": 1.0, "frames": 400}
    (folder / "summary.json").write_text(json.dumps(summary))
    manifest = {"git": {"revision": "abc", "dirty": True}, "versions": {"torch": "2"}, "machine": {}}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    (folder / "config.yaml").write_text("total_frames: 400\nenv: {id: CartPole-v1}\nevaluation: {episodes: 2}\n")


def test_seeds_are_trained_and_summed_up(own, capsys):
    assert main([*BENCH, "--seeds", "2", "--jobs", "2"]) == 0
    printed = capsys.readouterr().out
    assert "pass: expected an IQM of at least 5 (greedy)" in printed
    result = json.loads(Path("results/short.json").read_text())
    assert [run["seed"] for run in result["runs"]] == [101, 102]
    assert [run["frames"] for run in result["runs"]] == [400, 400]
    scores = [run["eval_return_mean"] for run in result["runs"]]
    assert result["mean"] == result["iqm"] == sum(scores) / 2
    assert result["interval"] == sorted(scores)
    assert result["command"] == "qframe bench short --seeds 2 --config-dir own"
    assert result["runs"][0]["command"] == "qframe train experiment=short seed=101 --config-dir own"
    assert result["environment"] == "CartPole-v1"
    assert {"torch", "python"} <= result["versions"].keys()


def test_what_is_finished_is_not_run_again(own, capsys):
    for seed, score in ((101, 3.0), (102, 5.0), (103, 10.0), (104, 6.0)):
        finished(seed, score)
    assert main([*BENCH, "--seeds", "4", "--resume"]) == 0
    printed = capsys.readouterr().out
    assert "seed 103  eval_return_mean 10.0  1 s  (finished before)" in printed
    assert "mean 6.0, IQM 5.5 [" in printed
    result = json.loads(Path("results/short.json").read_text())
    assert result["runs"][0]["revision"] == "abc+changes"


def test_a_score_that_is_missed_fails(own, capsys):
    finished(7, 4.9)
    assert main([*BENCH, "--seeds", "1", "--first-seed", "7", "--resume"]) == 1
    assert "fail: expected an IQM of at least 5" in capsys.readouterr().out
    result = json.loads(Path("results/short.json").read_text())
    assert result["command"] == "qframe bench short --seeds 1 --first-seed 7 --config-dir own"


def test_a_seed_that_fails_is_told_and_the_others_count(own, capsys):
    finished(101, 9.0)
    Path("outputs/bench/short/s102").write_text("a file where the run's folder is to be")
    assert main([*BENCH, "--seeds", "2", "--resume"]) == 1
    printed = capsys.readouterr().out
    assert "seed 102  failed: hydra.run.dir: expected a new or empty folder, got '" in printed
    assert "IQM 9.0 [9.0, 9.0] over 1 seeds" in printed
    assert "failed runs, which no score counts: seeds 102" in printed
    assert "fail: expected an IQM of at least 5" in printed
    result = json.loads(Path("results/short.json").read_text())
    assert (result["passed"], result["failed"]) == (False, [102])
    assert result["command"] == "qframe bench short --seeds 2 --config-dir own"


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("config.yaml", "total_frames: 800\n", "got total_frames=800 in outputs/bench/short/s101, 400 in"),
        ("config.yaml", "{", "got one whose files are damaged"),
        ("summary.json", '{"status": "finished", "wall_seconds": 1}', "got one whose files are damaged"),
    ],
)
def test_a_seed_of_another_preset_or_a_damaged_one_is_not_averaged(own, capsys, file, content, message):
    finished(101, 9.0)
    Path(f"outputs/bench/short/s101/{file}").write_text(content)
    assert main([*BENCH, "--seeds", "1", "--resume"]) == 2
    told = capsys.readouterr().err
    assert message in told
    assert "remove outputs/bench/short/s101 to run its seed again" in told


def test_a_signal_stops_every_run_and_resume_goes_on(own):
    preset(frames=1_000_000)
    words = [sys.executable, "-m", "qframe", *BENCH, "--seeds", "1"]
    env = os.environ | {"PYTHONPATH": os.pathsep.join(import_path())}
    bench = subprocess.Popen(words, stderr=subprocess.PIPE, text=True, env=env)
    log, deadline = Path("outputs/bench/short/s101.log"), time.monotonic() + 60
    while time.monotonic() < deadline and not (log.is_file() and "evaluation" in log.read_text()):
        time.sleep(0.1)
    bench.send_signal(signal.SIGTERM)
    assert "go on by the same command with --resume" in bench.communicate(timeout=60)[1]
    assert bench.returncode == 143
    summary = json.loads(Path("outputs/bench/short/s101/summary.json").read_text())
    assert summary["status"] == "stopped"
    config = Path("outputs/bench/short/s101/config.yaml")
    config.write_text(config.read_text().replace("total_frames: 1000000", f"total_frames: {summary['frames'] + 8}"))
    preset(frames=summary["frames"] + 8)
    assert main([*BENCH, "--seeds", "1", "--resume"]) == 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["bench", "cartpole_dqm"], "unknown option 'cartpole_dqm'; nearest is 'cartpole_dqn'"),
        ([*BENCH, "--seeds", "0"], "--seeds: expected an integer of at least 1, got 0"),
        ([*BENCH, "--jobs", "0"], "--jobs: expected an integer of at least 1, got 0"),
        (["bench", "bare", "--config-dir", "own"], "experiment=bare states no score to reach; add one under score:"),
        (["bench", "faulty", "--config-dir", "own"], "gamma: expected a number from 0 to 1, got 2.0"),
        (["bench"], "PRESET"),
    ],
)
def test_what_cannot_be_run_is_told_before_anything_starts(own, words, message, capsys):
    Path("own/experiment/bare.yaml").write_text("# @package _global_\nname: bare\n")
    Path("own/experiment/faulty.yaml").write_text(own.read_text() + "gamma: 2.0\n")
    assert main(words) == 2
    assert message in capsys.readouterr().err
    assert not Path("outputs").exists()


def test_seeds_that_were_run_before_are_not_overwritten(own, capsys):
    finished(102, 5.0)
    assert main(BENCH) == 2
    assert "got outputs/bench/short/s102; add --resume to go on, or remove it" in capsys.readouterr().err


def test_what_a_run_said_of_its_failure_is_told_and_not_where_it_stood(tmp_path):
    log = tmp_path / "s1.log"
    log.write_text("")
    assert bench_seeds._cause(log, 1) == "no word"
    log.write_text("  400/1,000 frames\nqframe: warning: odd\nqframe: training diverged\n  at 400 frames; there is\n")
    assert bench_seeds._cause(log, 2) == "training diverged"
    assert bench_seeds._cause(log, -9) == "ended by SIGKILL"
    log.write_text("qframe: warning: odd\nkilled\n")
    assert bench_seeds._cause(log, 1) == "killed"
