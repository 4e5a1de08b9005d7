"""What becomes of rewards before they are stored."""

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium.envs.classic_control.cartpole import CartPoleVectorEnv
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from qframe.checkpoints import load_checkpoint
from qframe.cli.main import main
from qframe.envs import FaultyEnvironment, SelfResettingEpisodes
from qframe.loggers.console import LineReport
from qframe.training import RewardTransform
from qframe.training.reward import RewardScale
from tests.runners import make_runner

COUNTER = "qframe-test/Counter-v0"


def transform(clip=None, scale=1.0, normalize=False, gamma=0.9, num_envs=2):
    return RewardTransform(clip=clip, scale=scale, normalize=normalize, gamma=gamma, num_envs=num_envs)


def apply(made, reward, done=(False, False), valid=None):
    return made(np.array(reward, np.float32), np.array(done), valid).tolist()


def test_rewards_are_scaled_then_clipped():
    assert apply(transform(clip=[-1, 2], scale=0.5), [-10.0, 3.0]) == [-1.0, 1.5]
    assert apply(transform(clip=[-1, 2], scale=0.5), [6.0, -1.0]) == [2.0, -0.5]


def test_nothing_chosen_changes_nothing():
    assert transform().is_identity
    assert not any(made.is_identity for made in (transform(clip=[0, 1]), transform(scale=2), transform(normalize=True)))


def test_rewards_are_divided_by_the_spread_of_all_discounted_returns_so_far():
    rng, made = np.random.default_rng(0), transform(normalize=True, gamma=0.9, num_envs=3)
    returns, seen = np.zeros(3), []
    for _ in range(400):
        reward, done = rng.normal(50, 20, 3).astype(np.float32), rng.random(3) < 0.1
        valid = rng.random(3) < 0.8
        reward[~valid] = 0.0
        stored = made(reward, done & valid, valid)
        for i in range(3):  # the naive twin
            returns[i] = 0.9 * returns[i] + reward[i]
            if valid[i]:
                seen.append(returns[i])
            if done[i] and valid[i]:
                returns[i] = 0.0
    np.testing.assert_allclose(stored, reward / np.std(seen), rtol=1e-4)


def test_the_first_rewards_are_limited():
    assert apply(transform(normalize=True), [1000.0, 1000.0]) == [10.0, 10.0]


@pytest.mark.parametrize("given", [[1, 1], [2, 1], [1], [0, float("nan")], [0, float("inf")]])
def test_bounds_that_are_none_are_refused(given):
    with pytest.raises(ValueError, match="expected clip to be two increasing numbers"):
        transform(clip=given)


@pytest.mark.parametrize("scale", [0.0, -1.0, float("inf"), float("nan")])
def test_a_factor_that_turns_or_loses_rewards_is_refused(scale):
    with pytest.raises(ValueError, match="expected scale above 0"):
        transform(scale=scale)


def test_stored_rewards_are_transformed_and_logged_returns_are_not(tmp_path):
    plain = make_runner(tmp_path / "a", COUNTER, total_frames=200)
    clipped = make_runner(tmp_path / "b", COUNTER, total_frames=200, reward={"clip": [0, 2], "scale": 0.5})
    for runner in (plain, clipped):
        runner.train(96)
        runner.collector.envs.close()
    raw, changed = (runner.replay.sample(500)["next", "reward"] for runner in (plain, clipped))
    assert sorted(set(raw.flatten().tolist())) == [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]
    assert sorted(set(changed.flatten().tolist())) == [0.5, 1.0, 1.5, 2.0]
    assert plain.collector.statistics.returns == clipped.collector.statistics.returns
    for total, length in zip(*clipped.collector.statistics.take()[:2], strict=True):
        assert total == length * (length + 1) / 2
    returns = clipped.evaluation.final(clipped.network).returns
    assert all(total in (6, 10, 15, 21) for total in returns)


def test_statistics_of_rewards_are_resumed(tmp_path):
    def make(total_frames):
        return make_runner(tmp_path, COUNTER, total_frames=total_frames, reward={"normalize": True})

    runner = make(400)
    runner.run()
    state = load_checkpoint(tmp_path / "checkpoints")
    resumed = make(600)
    resumed.load_state_dict(state)
    saved = state["collector"]["reward"]
    assert resumed.collector._reward.state_dict() == runner.collector._reward.state_dict() == saved
    assert resumed.run()["frames"] == 600


def test_rewards_are_chosen_on_the_command_line(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["check", "reward.clip=[1,-1]"]) == 2
    assert "reward: expected clip to be two increasing numbers" in capsys.readouterr().err
    words = ["reward.clip=[-1,1]", "reward.scale=0.1", "reward.normalize=true", "evaluation.final_episodes=2"]
    assert main(["train", *words, "total_frames=600", "runner.learning_starts=200", "hydra.run.dir=run"]) == 0
    state = load_checkpoint(tmp_path / "run" / "checkpoints")
    assert state["collector"]["reward"]["count"] == pytest.approx(600, abs=1)


class Faulty(gym.Env):
    """A number that is none, from step 60 of the environment on."""

    observation_space = gym.spaces.Dict({"a": gym.spaces.Box(-1, 1, (2,)), "b": gym.spaces.Discrete(2)})
    action_space = gym.spaces.Discrete(2)

    def __init__(self, fault):
        self.fault, self.steps = fault, 0

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.step_number = 0
        return {"a": np.zeros(2, np.float32), "b": 1}, {}

    def step(self, action):
        self.steps += 1
        self.step_number += 1
        observation, reward = {"a": np.zeros(2, np.float32), "b": 1}, 1.0
        over = self.step_number == 5
        if self.fault == "terminal":
            observation["a"][0] = np.nan if over else 0.0
        elif self.steps > 60:
            reward = {"nan reward": np.nan, "inf reward": np.inf, "shape": np.ones(1)}.get(self.fault, 1.0)
            observation["a"][1] = -np.inf if self.fault == "observation" else 0.0
            observation["b"] = 2 if self.fault == "choice" else 1
            observation["a"] = np.zeros(3, np.float32) if self.fault == "observation's shape" else observation["a"]
        return observation, reward, over, False, {}


@pytest.mark.parametrize("vectorization", ["sync", "async"])
@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("nan reward", "environment 0: the reward is nan; correct it in a wrapper"),
        ("inf reward", "environment 0: the reward is inf"),
        ("shape", "environment 0: the reward must be a number, but is an array of shape (1,); use float(reward)"),
        ("observation", "environment 0: observation['a'] holds -inf"),
        ("choice", "environment 0: observation['b'] is not in Discrete(2): 2; correct it in a wrapper"),
    ],
)
def test_a_number_that_is_none_stops_the_run_and_its_last_checkpoint_stays_good(
    tmp_path, monkeypatch, capfd, fault, message, vectorization
):
    monkeypatch.chdir(tmp_path)
    gym.register("qframe-test/Faulty-v0", entry_point=Faulty)
    words = [
        "env=gymnasium", "env.id=qframe-test/Faulty-v0", f"env.kwargs.fault={fault}", "env.num_envs=2",
        f"env.vectorization={vectorization}", "total_frames=400", "runner.learning_starts=20", "checkpoint.every=100",
        "evaluation.every=1000", "hydra.run.dir=run",
    ]  # fmt: skip
    try:
        assert main(["train", *words]) == 2
    finally:
        gym.registry.pop("qframe-test/Faulty-v0")
    said = capfd.readouterr().err
    assert f"qframe: {message}" in said
    assert "Traceback" not in said
    state = load_checkpoint(tmp_path / "run" / "checkpoints")
    assert state["run"]["frames"] == 100
    weights = state["learner"]["loss"].values()
    assert all(bool(torch.as_tensor(value).isfinite().all()) for value in weights)


def test_a_terminal_observation_that_is_no_number_does_no_harm(tmp_path):
    gym.register("qframe-test/Faulty-v0", entry_point=Faulty)
    try:
        options = {"kwargs": {"fault": "terminal"}}
        summary = make_runner(tmp_path, "qframe-test/Faulty-v0", env_options=options, total_frames=300).run()
    finally:
        gym.registry.pop("qframe-test/Faulty-v0")
    assert summary["eval_return_mean"] == 5.0


@pytest.mark.parametrize("mode", [AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP])
@pytest.mark.parametrize("fault", ["nan reward", "observation", "shape", "choice", "observation's shape"])
def test_self_resetting_environments_are_checked_too(mode, fault):
    envs = SyncVectorEnv([lambda: Faulty(fault)] * 2, autoreset_mode=mode)
    episodes = SelfResettingEpisodes(envs, lambda count: 0)
    episodes.reset()
    with pytest.raises(FaultyEnvironment, match="reward|observation"):
        all(episodes.step(np.zeros(2, np.int64)) for _ in range(100))


def test_an_error_of_a_vector_environments_own_is_not_called_a_fault_of_ours(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(CartPoleVectorEnv, "step", lambda self, action: 1 / 0)
    assert main(["train", "env.vectorization=native", "hydra.run.dir=run"]) == 2
    said = capfd.readouterr().err
    assert "Traceback" not in said
    assert "qframe: step of the vector environment failed: ZeroDivisionError: division by zero, at " in said


def scale_of(*rewards, gamma=0.99, length=200):
    scale = RewardScale(gamma)
    for reward in rewards:
        scale.add(np.full(length, reward, np.float32), 1)
    return scale


@pytest.mark.parametrize(
    ("scale", "size", "remedy"),
    [
        (scale_of(-6.0), "600", "0.002"),  # Pendulum
        (scale_of(1000.0, length=1), "1000", "0.001"),
        (scale_of(10.0, gamma=1.0, length=1000), "10000", "0.0001"),
        (scale_of(1e-6), "0.0001", "1e+04"),
    ],
)
def test_rewards_whose_returns_are_far_from_one_are_warned_of(scale, size, remedy):
    assert scale.warning() == (
        f"rewards add up to discounted returns of about {size} in size; consider reward.normalize=true, or "
        f"reward.scale={remedy}"
    )


def test_usual_rewards_are_not_warned_of():
    """CartPole, a rare reward of 1 as in FrozenLake, none at all, and none seen yet."""
    sparse = scale_of(*[0.0] * 500, length=8)
    sparse.add(np.ones(1, np.float32), 1)
    for scale in (scale_of(1.0), sparse, scale_of(0.0), RewardScale(0.99)):
        assert scale.warning() is None


def test_the_scale_of_rewards_is_said_when_learning_starts_and_survives_a_checkpoint(tmp_path, capsys):
    options = {"kwargs": {"length": 50, "start_reward": -20.0, "end_reward": -20.0}}
    given = {"env_options": options, "total_frames": 200, "report": LineReport(), "gamma": 0.99}
    runner = make_runner(tmp_path, "qframe-test/Terminating-v0", **given)
    runner.run()
    line = "note: rewards add up to discounted returns of about 2000 in size; consider reward.normalize=true, or"
    assert capsys.readouterr().out.count(line) == 1
    loaded = RewardScale(0.99)
    loaded.load_state_dict(runner.reward_scale.state_dict())
    assert loaded.warning() == runner.reward_scale.warning()
