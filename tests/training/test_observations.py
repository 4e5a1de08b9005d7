"""Observations of every space, from the environment through the replay to the network."""

import json

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from qframe.checkpoints import load_checkpoint
from qframe.cli.main import main
from qframe.envs import GymnasiumEnvs, SelfResettingEpisodes
from qframe.envs.observations import as_tensors
from qframe.replay import ReplayBuffer, SliceReplayBuffer
from tests.runners import make_runner, prioritized

MIXED = "qframe-test/Mixed-v0"
PATHS = {
    ("image",): (torch.uint8, (6, 6, 1)),
    ("place",): (torch.int64, ()),
    ("rest", "0"): (torch.int8, (2,)),
    ("rest", "1"): (torch.int64, (2,)),
    ("rest", "2", "vector"): (torch.float32, (2, 1)),
}


@pytest.mark.parametrize("vectorization", ["sync", "async"])
def test_a_nested_observation_keeps_its_keys_shapes_and_types(vectorization):
    envs = GymnasiumEnvs(MIXED, num_envs=3, vectorization=vectorization).make(0)
    start = as_tensors(envs.reset().observation)
    assert start.batch_size == (3,)
    assert {path: (start[path].dtype, tuple(start[path].shape[1:])) for path in PATHS} == PATHS
    first = start.clone()
    for _ in range(6):  # environments write into the same buffer
        step = envs.step(np.zeros(3, np.int64))
    assert (as_tensors(step.observation) != first).any()
    assert (start == first).all()
    envs.close()


def test_sync_and_async_play_the_same_nested_episodes():
    played = []
    for vectorization in ("sync", "async"):
        envs = GymnasiumEnvs(MIXED, num_envs=2, vectorization=vectorization).make(3)
        steps = [as_tensors(envs.reset().observation)]
        for _ in range(9):
            step = envs.step(np.array([0, 1]))
            steps += [as_tensors(step.next_observation), as_tensors(step.observation)]
        played.append(torch.stack(steps))
        envs.close()
    assert (played[0] == played[1]).all()


@pytest.mark.parametrize("mode", [AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP])
def test_the_final_observation_is_kept_of_self_resetting_environments(mode):
    makers = [lambda n=n: gym.make(MIXED, length=n, disable_env_checker=True) for n in (3, 4)]
    envs = SyncVectorEnv(makers, autoreset_mode=mode)
    episodes = SelfResettingEpisodes(envs, lambda count: 1)
    episodes.reset()
    ends = []
    for _ in range(8):
        step = episodes.step(np.zeros(2, np.int64))
        at = as_tensors(step.next_observation)["rest", "2", "vector"][:, 1, 0]
        ends += at[torch.from_numpy(step.terminated)].tolist()
    assert sorted(set(ends)) == [3.0, 4.0]


@pytest.mark.parametrize(
    ("replay", "options"),
    [
        (ReplayBuffer, {"n_step": 2}),
        (prioritized(ReplayBuffer), {}),
        (SliceReplayBuffer, {"slice_length": 4, "across_episodes": False}),
    ],
)
def test_every_replay_stores_every_entry_as_it_came(tmp_path, replay, options):
    runner = make_runner(tmp_path, MIXED, replay=replay, replay_options=options)
    runner.train(60)
    rows = runner.replay.sample(300).reshape(-1)
    for path, (dtype, shape) in PATHS.items():
        for entry in (rows["observation", *path], rows["next", "observation", *path]):
            assert (entry.dtype, tuple(entry.shape[1:])) == (dtype, shape)
    step = rows["observation", "rest", "2", "vector"][:, 1, 0]
    after = rows["next", "observation", "rest", "2", "vector"][:, 1, 0]
    torch.testing.assert_close(after, step + rows["steps_to_next_obs"].squeeze(-1))
    runner.collector.envs.close()


@pytest.mark.parametrize("shown", ["image", "place", "bits", "pair"])
def test_what_any_entry_shows_is_learned(tmp_path, shown):
    options = {"env_options": {"kwargs": {"shown": shown}}, "gamma": 0.0}
    runner = make_runner(tmp_path, MIXED, total_frames=1000, lr=1e-2, **options)
    assert runner.run()["eval_return_mean"] == 4.0


def test_a_small_difference_on_a_large_scale_is_learned_by_normalising_only(tmp_path):
    def score(normalize):
        runner = make_runner(
            tmp_path / str(normalize), MIXED, total_frames=500, env_options={"kwargs": {"shown": "vector"}}, gamma=0.0,
            lr=1e-2, normalize_observation=normalize,
        )  # fmt: skip
        return runner.run()["eval_return_mean"]

    assert score(True) == 4.0
    assert score(False) < 3.5


def test_statistics_are_those_of_collected_observations_only(tmp_path):
    runner = make_runner(tmp_path, "qframe-test/Counter-v0", normalize_observation=True, total_frames=600, seed=3)
    seen, act = [], runner.collector.act
    runner.collector.act = lambda observation, mask: seen.append(observation.clone()) or act(observation, mask)
    runner.run()
    (norm,) = runner.network.trunk.norms
    rows = torch.cat(seen).double()
    torch.testing.assert_close(norm.mean, rows.mean(0), rtol=1e-9, atol=0)
    torch.testing.assert_close(norm.variance, rows.var(0, correction=0), rtol=1e-9, atol=0)
    target = runner.learner.loss.target_value_network.trunk.norms[0]
    assert 0 < target.mean[0] < 2 * norm.mean[0]
    state = load_checkpoint(tmp_path / "checkpoints")
    resumed = make_runner(tmp_path / "b", "qframe-test/Counter-v0", normalize_observation=True)
    resumed.load_state_dict(state)
    assert torch.equal(resumed.network.trunk.norms[0].mean, norm.mean)
    resumed.collector.envs.close()


@pytest.mark.parametrize(
    "words",
    [
        ["env.id=FrozenLake-v1"],
        ["env.id=Blackjack-v1", "network=shared_trunk", "head=quantile"],
        ["env.id=Taxi-v4"],
        [f"env.id={MIXED}", "network.normalize_observation=true", "head=categorical"],
        ["env.id=CartPole-v1", "network.normalize_observation=true"],
    ],
)
def test_one_command_trains_on_observations_of_any_space(tmp_path, monkeypatch, capsys, words):
    monkeypatch.chdir(tmp_path)
    sizes = ["total_frames=200", "runner.learning_starts=100", "evaluation.final_episodes=2"]
    words = ["env=gymnasium", "env.max_episode_steps=20", *words, *sizes]
    assert main(["train", *words, "hydra.run.dir=run"]) == 0, capsys.readouterr().err
    assert json.loads((tmp_path / "run" / "summary.json").read_text())["status"] == "finished"


class Odd(gym.Env):
    observation_space = spaces.Dict({"word": spaces.Text(4), "at": spaces.Discrete(2)})
    action_space = spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        return {"word": "abcd", "at": 0}, {}

    def step(self, action):
        return self.reset()[0], 0.0, False, False, {}


def test_a_space_that_is_not_encoded_is_refused_by_name(capsys):
    gym.register("qframe-test/Odd-v0", entry_point=Odd)
    try:
        assert main(["check", "env=gymnasium", "env.id=qframe-test/Odd-v0"]) == 2
    finally:
        gym.registry.pop("qframe-test/Odd-v0")
    said = capsys.readouterr().err
    assert "env: expected observations of Box, Discrete" in said
    assert "encode it as numbers of a fixed shape" in said


def test_a_replay_of_nested_observations_larger_than_memory_is_refused(capsys):
    assert main(["check", "env=gymnasium", f"env.id={MIXED}", "replay.capacity=1e13"]) == 2
    assert "replay.capacity: too large for the memory: " in capsys.readouterr().err
