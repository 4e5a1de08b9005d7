"""The command line as functions, for scripts and notebooks."""

import subprocess
import sys

import gymnasium as gym
import numpy as np
import pytest

import qframe
from qframe.cli.main import main
from qframe.errors import UserError
from qframe.runs.folder import RunFolder

TINY = ["total_frames=120", "runner.learning_starts=50", "evaluation.every=100", "evaluation.episodes=1",
        "evaluation.final_episodes=1", "logger.tensorboard=false", "compile=false", "replay.capacity=200"]  # fmt: skip


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("library") / "run"
    return qframe.train([*TINY, f"hydra.run.dir={folder}"])


def test_train_returns_the_runs_folder(run):
    assert isinstance(run, RunFolder)
    assert run.summary["status"] == "finished"
    assert run.config["name"].startswith("cartpole_dqn")
    with pytest.raises(UserError, match="launch it from the command line: qframe train -m"):
        qframe.train(["-m", "seed=1,2"])
    with pytest.raises(UserError, match="optimzer: unknown key"):
        qframe.train(["optimzer.lr=1"])


def test_a_loaded_policy_acts_in_its_environment(run):
    policy = qframe.load(run.path)
    env = gym.make("CartPole-v1")
    observation, _ = env.reset(seed=0)
    values = policy.values(observation)
    assert values.shape == (2,)
    assert policy(observation) == int(values.argmax())
    assert policy(observation, mask=np.array([True, False])) == 0
    assert policy(observation, mask=np.array([False, True])) == 1
    env.step(policy(observation))


def test_runs_are_a_table(run):
    (row,) = qframe.runs(run.path)
    assert row["status"] == "finished"
    assert row["frames"] == run.summary["frames"]
    assert "<td>finished</td>" in qframe.runs(run.path)._repr_html_()  # pyright: ignore


def test_importing_qframe_imports_no_torch():
    code = "import sys, qframe; qframe.load; qframe.train; qframe.runs; print({'torch', 'yaml'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


def test_a_run_starts_from_the_config_of_another(run, tmp_path, capsys):
    words = ["train", "--config", str(run.config_file), "seed=5", "optimizer.lr=1e-4", "head=quantile"]
    assert main([*words, f"hydra.run.dir={tmp_path / 'new'}"]) == 0
    new = RunFolder(tmp_path / "new")
    assert new.config["optimizer"]["lr"] == 1e-4
    assert new.config["seed"] == 5
    assert new.config["head"]["_target_"] == "qframe.heads.QuantileHead"
    assert new.config["replay"]["capacity"] == 200
    assert new.config["name"] == "cartpole_qrdqn-lr=1e-4"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--config", "conf/train.yaml"], "--config: 'conf/train.yaml' is not the config.yaml of a run; a preset be"),
        (["--config", "RUN", "experiment=cartpole_c51"], "--config takes the place of a preset; leave out 'experiment"),
        (["--config", "RUN", "-m", "seed=1,2"], "--config starts a single run; put its changes into a preset to sweep"),
        (["--config", "RUN", "optimizer.lrr=1"], "optimizer.lrr: unknown key"),
        (["--config", "RUN", "head=quantil"], "head: unknown option 'quantil'"),
    ],
)
def test_a_start_from_another_run_that_cannot_be_is_refused(words, message, run, capsys):
    assert main(["train", *(str(run.config_file) if word == "RUN" else word for word in words)]) == 2
    assert capsys.readouterr().err.startswith(f"qframe: {message}")


def test_an_options_file_is_printed_with_its_comments(capsys):
    assert main(["list", "head/quantile"]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("# ")
    assert "head/quantile.yaml\n# QR-DQN" in printed
    assert "num_quantiles: 32 # quantiles per action" in printed
    assert main(["list", "head/quantil"]) == 2
    assert "head: unknown option 'quantil'; nearest is 'quantile'" in capsys.readouterr().err
