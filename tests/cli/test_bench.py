"""``qframe bench``: a sweep over seeds whose finished jobs are kept, a verdict, and a file that repeats it."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import qframe
from qframe.cli.main import main
from qframe.runs.swept import Swept
from qframe.sweeps.folder import SweepFolder

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


def job(seed):
    """The folder of a seed's job, whose number is recorded."""
    sweep = SweepFolder(Path("outputs/bench/short"))
    (number,) = numbers = sweep.numbered([("experiment=short", f"seed={seed}")])
    sweep.write_jobs(numbers, Swept(("seed",)))
    sweep.record.write_text('{"overrides": [], "config_dir": null, "trust": []}')
    return sweep.job(number)


def finished(seed, score):
    """The folder of a seed as a finished run leaves it."""
    folder = job(seed)
    folder.mkdir(parents=True)
    summary = {"status": "finished", "seed": seed, "eval_return_mean": score, "wall_seconds": 1.0, "frames": 400}
    (folder / "summary.json").write_text(json.dumps(summary))
    manifest = {"git": {"revision": "abc", "dirty": True}, "versions": {"torch": "2"}, "machine": {}}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    (folder / "config.yaml").write_text("total_frames: 400\nenv: {id: CartPole-v1}\nevaluation: {episodes: 2}\n")
    return folder


def test_seeds_are_trained_as_a_sweep_and_summarized(own, capsys):
    assert main([*BENCH, "--seeds", "2", "--jobs", "2"]) == 0
    printed = capsys.readouterr().out
    assert "sweep folder  outputs/bench/short\n" in printed
    assert "pass: the preset states an IQM of at least 5 (greedy)" in printed
    result = json.loads(Path("outputs/bench/short/result.json").read_text())
    assert [run["seed"] for run in result["runs"]] == [101, 102]
    assert [run["frames"] for run in result["runs"]] == [400, 400]
    scores = [run["eval_return_mean"] for run in result["runs"]]
    assert result["mean"] == result["iqm"] == sum(scores) / 2
    assert result["interval"] == sorted(scores)
    assert result["command"] == "qframe bench short --seeds 2 --config-dir own"
    assert result["runs"][0]["command"] == "qframe train experiment=short seed=101 --config-dir own"
    assert result["environment"] == "CartPole-v1"
    assert {"torch", "python"} <= result["versions"].keys()


def test_finished_seeds_are_not_run_again(own, capsys):
    for seed, score in ((101, 3.0), (102, 5.0), (103, 10.0), (104, 6.0)):
        finished(seed, score)
    assert main([*BENCH, "--seeds", "4", "--resume", "--record", "docs"]) == 0
    printed = capsys.readouterr().out
    assert "mean 6.00, IQM 5.50 [" in printed
    assert "over 4 seeds" in printed
    result = json.loads(Path("docs/short.json").read_text())
    assert result["runs"][0]["revision"] == "abc+changes"
    assert [run["seed"] for run in result["runs"]] == [101, 102, 103, 104]


def test_a_result_is_recorded_from_as_many_seeds_as_the_preset_states(own, capsys):
    finished(101, 9.0)
    assert main([*BENCH, "--seeds", "1", "--resume", "--record", "docs"]) == 2
    assert "--record: experiment=short states 2 seeds; add --seeds 2" in capsys.readouterr().err
    assert main([*BENCH, "--seeds", "1", "--resume"]) == 0
    assert not Path("docs").exists()
    assert not Path("results").exists()


def test_a_score_that_is_missed_fails(own, capsys):
    finished(7, 4.9)
    assert main([*BENCH, "--seeds", "1", "--first-seed", "7", "--resume"]) == 1
    assert "fail: the preset states an IQM of at least 5" in capsys.readouterr().out
    result = json.loads(Path("outputs/bench/short/result.json").read_text())
    assert result["command"] == "qframe bench short --seeds 1 --first-seed 7 --config-dir own"


def test_a_seed_without_a_result_fails_and_the_others_are_summarized(own, capsys, monkeypatch):
    finished(101, 9.0)

    def launch(app, composition, record):
        assert "hydra.sweeper.retries=0" in composition.overrides
        SweepFolder(Path("outputs/bench/short")).write_jobs({1: ("experiment=short", "seed=102")}, Swept(("seed",)))
        job(102).mkdir(exist_ok=True)
        (job(102) / "summary.json").write_text('{"status": "failed", "reason": "training diverged"}')
        return 1

    monkeypatch.setattr("qframe.sweeps.sweep.launch", launch)
    assert main([*BENCH, "--seeds", "2", "--resume", "--record", "docs"]) == 1
    printed = capsys.readouterr().out
    assert "not recorded: 1 of the 2 seeds that the preset states have finished" in printed
    assert not Path("docs").exists()
    assert "IQM 9.00 [9.00, 9.00] over 1 seed\n" in printed
    assert "without a result: seeds 102" in printed
    assert "fail: the preset states an IQM of at least 5" in printed
    result = json.loads(Path("outputs/bench/short/result.json").read_text())
    assert (result["passed"], result["failed"]) == (False, [102])
    assert result["command"] == "qframe bench short --seeds 2 --config-dir own"
    assert main([*BENCH, "--seeds", "1", "--first-seed", "102", "--resume"]) == 1
    assert "fail: no seed has finished" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("config.yaml", "total_frames: 800\n", "seed=101 has total_frames=800, the preset now has 400"),
        ("config.yaml", "{", "the files of the run in outputs/bench/short/0-seed=101 are damaged"),
        ("summary.json", '{"status": "finished", "wall_seconds": 1}', "are damaged"),
    ],
)
def test_a_seed_of_another_preset_or_a_damaged_one_is_not_averaged(own, capsys, file, content, message):
    (finished(101, 9.0) / file).write_text(content)
    assert main([*BENCH, "--seeds", "1", "--resume"]) == 2
    printed = capsys.readouterr().err
    assert message in printed
    assert "remove outputs/bench/short/0-seed=101 to run its seed again" in printed


def test_a_signal_stops_every_run_and_the_same_command_resumes(own):
    preset(frames=1_000_000)
    words = [sys.executable, "-m", "qframe", *BENCH, "--seeds", "1"]
    env = os.environ | {"PYTHONPATH": str(Path(qframe.__file__).parents[1])}
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env)
    log, deadline = Path("outputs/bench/short/0-experiment=short,seed=101/output.log"), time.monotonic() + 120
    while time.monotonic() < deadline and not (log.is_file() and "evaluation" in log.read_text()):
        time.sleep(0.1)
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=60)
    assert "resume by the same command with --resume" in err
    assert "1 of 1 jobs are left: qframe resume outputs/bench/short" in out
    assert process.returncode == 143
    summary = json.loads(Path("outputs/bench/short/0-experiment=short,seed=101/summary.json").read_text())
    assert summary["status"] == "stopped"
    config = Path("outputs/bench/short/0-experiment=short,seed=101/config.yaml")
    config.write_text(config.read_text().replace("total_frames: 1000000", f"total_frames: {summary['frames'] + 8}"))
    preset(frames=summary["frames"] + 8)
    assert main([*BENCH, "--seeds", "1", "--resume"]) == 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["bench", "cartpole_dqm"], "unknown option 'cartpole_dqm'; nearest is 'cartpole_dqn'"),
        ([*BENCH, "--seeds", "0"], "argument --seeds: must be at least 1, got 0"),
        ([*BENCH, "--jobs", "0"], "argument --jobs: must be at least 1, got 0"),
        (["bench", "bare", "--config-dir", "own"], "experiment=bare states no score to reach; add one under score:"),
        (["bench", "faulty", "--config-dir", "own"], "gamma: expected a number from 0 to 1, got 2.0"),
        (["bench"], "PRESET"),
    ],
)
def test_faults_are_reported_before_anything_starts(own, words, message, capsys):
    Path("own/experiment/bare.yaml").write_text("# @package _global_\nname: bare\n")
    Path("own/experiment/faulty.yaml").write_text(own.read_text() + "gamma: 2.0\n")
    assert main(words) == 2
    assert message in capsys.readouterr().err
    assert not Path("outputs").exists()


def test_seeds_that_were_run_before_are_not_overwritten(own, capsys):
    finished(102, 5.0)
    assert main(BENCH) == 2
    message = "outputs/bench/short/0-seed=102 holds a seed that was run before; add --resume to keep it, or remove it"
    assert message in capsys.readouterr().err
