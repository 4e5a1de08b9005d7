"""Faults during a run: logs that cannot be written, numbers that are not finite, environments that break."""

import errno
import json

import numpy as np
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from qframe.checkpoints import save as checkpoint
from qframe.cli.main import main
from qframe.config import build
from qframe.config.compose import compose
from qframe.envs import GymnasiumEnvs
from qframe.loggers import Logger
from qframe.loggers import probe_states as states
from qframe.loggers.console import Report
from qframe.loggers.metrics_file import MetricsFile
from qframe.loggers.protocol import Record
from qframe.optimizer.nonfinite import Diverged, check_finite
from tests import probes

SMALL = ["total_frames=400", "runner.learning_starts=100", "evaluation.every=200", "evaluation.episodes=1",
         "evaluation.final_episodes=1", "checkpoint.every=200", "logger.every=100", "compile=false"]  # fmt: skip


class Heard(Report):
    def __init__(self):
        self.lines = []

    def say(self, text):
        self.lines.append(text)


def train(folder, *words):
    return main(["train", *SMALL, f"hydra.run.dir={folder}", *words])


def test_a_log_that_cannot_be_written_is_reported_once_and_training_continues(tmp_path, monkeypatch, capsys):
    def full(*arguments, **choices):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(MetricsFile, "log", full)
    assert train(tmp_path / "run") == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if "could not be written" in line]
    assert len(lines) == 1
    assert "No space left on device); training continues" in lines[0]
    assert json.loads((tmp_path / "run" / "summary.json").read_text())["status"] == "finished"


def test_a_disk_that_fills_in_a_checkpoint_leaves_the_earlier_one_and_no_rest(tmp_path, monkeypatch, capsys):
    write, run = checkpoint.write_durably, tmp_path / "run"

    def full(path, content):
        if path.name == "replay.pt" and any((run / "checkpoints").glob("0*")):
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(path, content)

    monkeypatch.setattr(checkpoint, "write_durably", full)
    assert train(run) == 2
    lines = capsys.readouterr().err
    assert f"cannot write or read '{run}/checkpoints': No space left on device\n  at 400 frames; " in lines
    assert f"the last checkpoint is {run}/checkpoints/000000000200" in lines
    assert [path.name for path in (run / "checkpoints").iterdir()] == ["000000000200"]
    assert json.loads((run / "summary.json").read_text())["status"] == "failed"
    assert main(["eval", str(run), "--last", "--episodes", "1"]) == 0


class Broken(Record):
    def __init__(self, *, opens):
        self.opens = opens

    def open(self, opening):
        if not self.opens:
            raise OSError("read-only")

    def log(self, frames, values):
        raise OSError("full")

    def finish(self, summary):
        raise OSError("still full")

    def close(self):
        raise OSError("closed")


def test_a_record_that_breaks_keeps_the_others_and_is_reported_once(tmp_path):
    report = Heard()
    logger = Logger(every=1, also={"broken": Broken(opens=True)})
    logger.open(tmp_path / "metrics.jsonl", report=report)
    for frames in (1, 2):
        logger.log(frames, {"loss/loss": 0.5})
    logger.finish({"eval_return_mean": 1.0, "eval_return_last": 1.0, "frames": 2})
    logger.close()
    assert report.lines == [
        "a log could not be written (OSError: full); training continues, and later failures are not reported"
    ]
    assert (tmp_path / "metrics.jsonl").read_text().count("loss/loss") == 2
    events = EventAccumulator(str(tmp_path)).Reload()
    assert [scalar.step for scalar in events.Scalars("loss/loss")] == [1, 2]


def test_a_record_that_cannot_be_opened_keeps_a_run_from_starting(tmp_path):
    logger = Logger(every=1, tensorboard=False, also={"broken": Broken(opens=False)})
    with pytest.raises(OSError, match="read-only"):
        logger.open(tmp_path / "metrics.jsonl", report=Heard())


def test_a_run_that_diverges_says_where_and_keeps_its_last_checkpoint(tmp_path, capsys):
    assert train(tmp_path / "run", "optimizer.lr=1e38", "optimizer.max_grad_norm=null", "checkpoint.every=100") == 2
    lines = capsys.readouterr().err
    assert "training diverged within" in lines
    assert "; lower optimizer.lr\n  at " in lines
    assert f"the last checkpoint is {tmp_path}/run/checkpoints/000000000" in lines
    for words in (["eval", str(tmp_path / "run"), "--last", "--episodes", "1"],):
        assert main(words) == 0


def test_parameters_that_are_not_finite_are_not_saved():
    layer = torch.nn.Linear(2, 1)
    check_finite(layer, 7)
    layer.bias.data[0] = torch.nan
    with pytest.raises(Diverged, match="within 7 updates: parameter bias is not finite"):
        check_finite(layer, 7)


class Odd(probes.gym.Env):
    """Counts to ten; its third step of an episode is not a number where ``odd`` says so."""

    observation_space = probes.gym.spaces.Box(-10.0, 10.0, (1,), np.float32)
    action_space = probes.gym.spaces.Discrete(2)

    def __init__(self, odd):
        self.odd = odd

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.at = 0
        return np.zeros(1, np.float32), {}

    def step(self, action):
        self.at += 1
        seen = np.full(1, np.nan if self.at == 3 and self.odd == "observation" else self.at, np.float32)
        return seen, np.inf if self.at == 3 and self.odd == "reward" else 1.0, self.at == 10, False, {}


@pytest.fixture
def odd():
    probes.gym.register("qframe-test/Odd-v0", Odd)
    yield
    del probes.gym.registry["qframe-test/Odd-v0"]


@pytest.mark.parametrize("kind", ["observation", "reward"])
@pytest.mark.parametrize("vectorization", ["sync", "async"])
def test_an_episode_ends_before_a_number_that_is_not_finite(odd, kind, vectorization):
    envs = GymnasiumEnvs(
        "qframe-test/Odd-v0", num_envs=2, vectorization=vectorization, kwargs={"odd": kind}, nonfinite="skip"
    ).make(seed=1)
    envs.reset()
    steps = [envs.step(np.zeros(2, np.int64)) for _ in range(4)]
    envs.close()
    assert [step.next_observation[0, 0] for step in steps] == [1.0, 2.0, 2.0, 1.0]
    assert [step.reward[0] for step in steps] == [1.0, 1.0, 0.0, 1.0]
    assert [bool(step.truncated[0]) for step in steps] == [False, False, True, False]
    assert envs.faults() == {"restarts": 0, "skipped": 2}


def test_skipped_steps_are_in_the_metrics_and_stopping_names_the_frame(odd, tmp_path, capsys):
    env = ["env=gymnasium", "env.id=qframe-test/Odd-v0", "+env.kwargs.odd=reward"]
    assert train(tmp_path / "a", *env, "env.nonfinite=skip", "evaluation.max_episode_steps=5") == 0
    logs = [json.loads(line) for line in (tmp_path / "a" / "metrics.jsonl").read_text().splitlines()]
    counts = [log["env/skipped"] for log in logs if "env/skipped" in log]
    assert counts == sorted(counts)
    assert counts[-1] == 128  # of every third step
    lines = capsys.readouterr().out
    summary = json.loads((tmp_path / "a" / "summary.json").read_text())
    assert summary["eval_faults"] >= summary["eval_episodes"]  # each that counts ends so, others may by then
    counted = f"ended {summary['eval_faults']} episodes ({summary['eval_episodes']} were evaluated)"
    assert counted in lines
    assert train(tmp_path / "b", *env, "logger.tensorboard=false") == 2
    lines = capsys.readouterr().err
    assert "environment 0: the reward is inf" in lines
    assert "at 16 frames; no checkpoint was written yet" in lines


def test_skipping_is_not_for_native_environments():
    faults = build.check(compose(["env.nonfinite=skip", "env.vectorization=native"], provided=build.PROVIDED))
    assert "expected nonfinite=stop, or skip unless vectorization=native" in str(faults[0])


def test_fixed_states_that_an_environment_cannot_give_do_not_stop_a_run(tmp_path, monkeypatch, capsys):
    def gives_nothing(*arguments, **choices):
        raise ValueError("environment 0: the reward is inf")

    monkeypatch.setattr(states, "derive_seed", gives_nothing)
    assert train(tmp_path / "run") == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if "could not be written" in line]
    assert len(lines) == 1
    assert "the reward is inf); training continues" in lines[0]


@pytest.mark.parametrize("collector", ["sync", "pipelined"])
def test_an_environment_that_ends_the_process_is_reported(tmp_path, monkeypatch, capsys, collector):
    def leave(env, action):
        if env.step_number == 2:
            raise SystemExit("bye")
        return step(env, action)

    step = probes.Counter.step
    monkeypatch.setattr(probes.Counter, "step", leave)
    words = ["env=gymnasium", "env.id=qframe-test/Counter-v0", f"collector={collector}"]
    assert train(tmp_path / "run", *words) == 2
    lines = capsys.readouterr().err
    assert "environment 0: step failed: SystemExit: bye, at " in lines
    assert "test_faults.py" in lines


@pytest.mark.parametrize("fault", [MemoryError(), OSError(errno.ENOMEM, "Cannot allocate memory")])
def test_running_out_of_memory_is_reported_with_a_remedy(tmp_path, monkeypatch, capsys, fault):
    def full(*arguments, **choices):
        raise fault

    monkeypatch.setattr("qframe.replay.storage.zeros", full)
    assert train(tmp_path / "run") == 2
    lines = capsys.readouterr().err
    assert lines.startswith("qframe: out of memory; lower replay.capacity")
    assert "Traceback" not in lines
