"""A run resumed from any of its checkpoints is, bit for bit, the run that was never stopped."""

import json
import random
import shutil
from functools import partial

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium.envs.classic_control import CartPoleEnv
from torch import nn

from qframe.checkpoints import load_checkpoint
from qframe.heads import CategoricalHead, QuantileHead
from qframe.loggers.console import LineReport
from qframe.networks import GRU, LSTM, Trunk
from qframe.replay import ReplayBuffer, SliceReplayBuffer
from qframe.runs.checkpoint_names import checkpoints_in
from qframe.training import Callback, CountBonus, RNDBonus
from tests.fingerprint import fingerprint
from tests.runners import make_runner, prioritized

CARTPOLE = "CartPole-v1"
FRAMES = 480


class Dropping(nn.Sequential, Trunk):
    """Draws from torch's global generator."""

    def __init__(self, space):
        super().__init__(nn.Linear(space.shape[0], 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.3))
        self.num_features = 16


class Drawing(CartPoleEnv):
    """Draws from the generators that Gymnasium's ``reset`` does not seed."""

    def step(self, action):
        observation, _, *ends = super().step(action)
        number = np.random.rand() + random.random() + self.action_space.sample()  # noqa: NPY002
        return observation, number, *ends


class Telling(CartPoleEnv):
    """Gives numbers in its infos, one of them only now and then."""

    def step(self, action):
        observation, reward, *ends, _ = super().step(action)
        rare = {"speed": float(observation[1])} if self.np_random.random() < 0.1 else {}
        return observation, reward, *ends, {"place": {"x": float(observation[0])}, **rare}


class Walking(Callback):
    """A random walk of its own generator, logged at every evaluation."""

    def __init__(self):
        self.generator, self.place = torch.Generator().manual_seed(3), 0.0

    def step(self, run, transitions):
        self.place += float(torch.randn((), generator=self.generator))

    def evaluation(self, run, result):
        run.log({"mine/place": self.place})

    def state_dict(self):
        return {"generator": self.generator.get_state(), "place": self.place}

    def load_state_dict(self, state):
        self.generator.set_state(state["generator"])
        self.place = state["place"]


gym.register("qframe-test/InfoCartPole-v0", Telling, max_episode_steps=500)
gym.register("qframe-test/Drawing-v0", Drawing, max_episode_steps=500)
SEQUENCES = {
    "replay": SliceReplayBuffer,
    "replay_options": {"slice_length": 8, "burn_in": 2, "n_step": 3, "stride": 3, "across_episodes": False},
}
CASES = {
    "scalar": {},
    "categorical-prioritized": {"head": partial(CategoricalHead, num_atoms=11), "replay": prioritized(ReplayBuffer)},
    "categorical-auto": {"head": partial(CategoricalHead, num_atoms=11, v_min="auto", v_max="auto")},
    "quantile-3-steps": {"head": partial(QuantileHead, num_quantiles=8), "replay_options": {"n_step": 3}},
    "slices": {"replay": SliceReplayBuffer, "replay_options": {"slice_length": 8}, "estimator": "TDLambda"},
    "normalised": {"normalize_observation": True, "reward": {"normalize": True}},
    "dropout": {"trunk": Dropping},
    "global-generators": {"env": "qframe-test/Drawing-v0"},
    "infos": {"env": "qframe-test/InfoCartPole-v0", "env_options": {"log_info": ["place.x", "speed"]}},
    "callback": {"callbacks": [Walking]},
    "rnd": {"bonus": partial(RNDBonus, scale=0.5, num_features=8, num_cells=16, lr=1e-3)},
    "count": {"bonus": partial(CountBonus, scale=0.5, bits=8), "replay_options": {"n_step": 3}},
    "lstm": {"memory": partial(LSTM, hidden_size=8, inputs=["action", "reward"]), **SEQUENCES},
    "gru-prioritized": {"memory": partial(GRU, hidden_size=8), **SEQUENCES, "replay": prioritized(SliceReplayBuffer)},
    "native": {"vectorization": "native", "replay_options": {"n_step": 3}},
}


def make(folder, *, keep=9, **options):
    chosen = {"env": CARTPOLE, "total_frames": FRAMES, "evaluate_every": 200, "num_envs": 3} | options
    runner = make_runner(folder, **chosen)
    runner.checkpoints.keep = keep
    runner.schedule.intervals |= {"log": 120, "save": 150}
    return runner


def resumed(whole, folder, number, **options):
    """A copy of a run that has lost all but its first checkpoints, resumed."""
    shutil.copytree(whole, folder)
    for path in checkpoints_in(folder / "checkpoints")[number:]:
        shutil.rmtree(path)
    runner = make(folder, **options)
    runner.load_state_dict(load_checkpoint(folder / "checkpoints"))
    return runner


@pytest.mark.parametrize("case", CASES)
def test_a_resumed_run_is_the_one_that_never_stopped(tmp_path, case):
    options = CASES[case]
    make(tmp_path / "whole", **options).run()
    expected = fingerprint(tmp_path / "whole")
    for number in (1, 3):
        runner = resumed(tmp_path / "whole", tmp_path / str(number), number, **options)
        assert 0 < runner.frames < FRAMES
        runner.run()
        assert fingerprint(tmp_path / str(number)) == expected


def test_a_fingerprint_distinguishes_runs(tmp_path):
    make(tmp_path / "a").run()
    make(tmp_path / "b", seed=1).run()
    a, b = fingerprint(tmp_path / "a"), fingerprint(tmp_path / "b")
    assert {part for part in a if a[part] != b[part]} == {"run", "best", "collector", "learner", "replay", "metrics"}


def test_saving_does_not_change_the_run(tmp_path):
    for name, every in (("often", 30), ("never", 10_000)):
        runner = make(tmp_path / name)
        runner.schedule.intervals["save"] = every
        runner.run()
    assert fingerprint(tmp_path / "often") == fingerprint(tmp_path / "never")


def test_logging_and_evaluation_change_nothing_of_the_training(tmp_path):
    for name, often in (("often", 60), ("never", 10_000)):
        runner = make(tmp_path / name, evaluate_every=often)
        runner.schedule.intervals["log"] = often
        runner.run()
    often, never = fingerprint(tmp_path / "often"), fingerprint(tmp_path / "never")
    assert {part for part in often if often[part] != never[part]} <= {"run", "best", "learner", "collector", "metrics"}
    learners = [load_checkpoint(tmp_path / name / "checkpoints")["learner"] for name in ("often", "never")]
    for weight, other in zip(*(learner["loss"].values() for learner in learners), strict=True):
        assert torch.equal(weight, other)
    assert often["replay"] == never["replay"]


def test_sync_and_async_environments_make_the_same_run(tmp_path):
    for name in ("sync", "async"):
        make(tmp_path / name, vectorization=name, total_frames=300).run()
    assert fingerprint(tmp_path / "sync") == fingerprint(tmp_path / "async")


class Moody(gym.Env):
    """Its seed does not determine it: it counts the episodes of its process, and shows the number late."""

    observation_space = gym.spaces.Box(-np.inf, np.inf, (1,), np.float32)
    action_space = gym.spaces.Discrete(2)
    episodes = 0

    def reset(self, *, seed=None, options=None):
        Moody.episodes += 1
        self.steps = 0
        return np.zeros(1, np.float32), {}

    def step(self, action):
        self.steps += 1
        number = Moody.episodes if self.steps > 20 else 0
        return np.array([number], np.float32), 1.0, self.steps == 26, False, {}


@pytest.fixture
def moody():
    gym.register("qframe-test/Moody-v0", Moody)
    yield "qframe-test/Moody-v0"
    del gym.registry["qframe-test/Moody-v0"]


def test_episodes_that_come_out_different_are_abandoned_with_a_note(tmp_path, moody, capsys):
    make(tmp_path / "whole", env=moody, total_frames=300).run()
    runner = resumed(tmp_path / "whole", tmp_path / "again", 1, env=moody, report=LineReport())
    assert "the replayed episodes differ from the saved ones, so new ones start instead" in capsys.readouterr().out
    assert runner.collector.envs.episode.tolist() == [2, 2, 2]  # of 26 steps each: the second was under way
    assert runner.run()["frames"] == FRAMES


def test_a_checkpoint_truncates_environments_that_cannot_resume_and_a_note_says_so(tmp_path, capsys):
    runner = make(tmp_path, vectorization="native", total_frames=180, replay_options={"n_step": 3}, report=LineReport())
    runner.run()
    assert "cannot resume episodes, so every checkpoint truncates the running ones" in capsys.readouterr().out
    rows = runner.replay._storage.read(torch.arange(len(runner.replay)))
    steps = rows["steps_to_next_obs"][:150]
    assert len(runner.replay) == 180
    assert int((steps[-9:] < 3).sum()) >= 6


def test_metrics_past_the_checkpoint_are_dropped_once(tmp_path):
    make(tmp_path / "whole").run()
    lines = (tmp_path / "whole" / "metrics.jsonl").read_text()
    shutil.copytree(tmp_path / "whole", tmp_path / "cut")
    for path in checkpoints_in(tmp_path / "cut" / "checkpoints")[2:]:
        shutil.rmtree(path)
    with (tmp_path / "cut" / "metrics.jsonl").open("a") as file:
        file.write('{"frames": 70')  # as a kill in the middle of a line leaves it
    runner = make(tmp_path / "cut")
    runner.load_state_dict(load_checkpoint(tmp_path / "cut" / "checkpoints"))
    runner.run()
    frames = [json.loads(line)["frames"] for line in (tmp_path / "cut" / "metrics.jsonl").read_text().splitlines()]
    assert frames == [json.loads(line)["frames"] for line in lines.splitlines()] == sorted(frames)


def test_a_buffer_of_pages_is_the_buffer(tmp_path):
    make(tmp_path, total_frames=300).run()
    state = load_checkpoint(tmp_path / "checkpoints")
    buffers = [ReplayBuffer(2000, 32, gamma=0.9, num_envs=3) for _ in range(2)]
    buffers[0].load_state_dict(state["replay"])
    buffers[1].load_state_dict(buffers[0].state_dict())  # rows as plain tensors
    assert torch.equal(buffers[0].sample()["observation"], buffers[1].sample()["observation"])
