"""Acting: the transitions that a collector returns."""

import pytest
import torch

from qframe.actions import Categorical, make_action_space
from qframe.exploration import Boltzmann, EGreedyModule, EZGreedy
from qframe.replay import ReplayBuffer, SliceReplayBuffer
from qframe.training import Collector
from tests.runners import make_runner, prioritized


def test_transitions_follow_one_another_per_environment(tmp_path):
    collector = make_runner(tmp_path, "qframe-test/Counter-v0", num_envs=3).collector
    before = collector.collect()
    for _ in range(30):
        after = collector.collect()
        for i in range(3):
            if not before["next", "done"][i]:
                assert after["observation"][i].tolist() == before["next", "observation"][i].tolist()
            else:
                assert after["observation"][i, 1] == 0
        assert after["env"].tolist() == [0, 1, 2]
        before = after
    assert collector.exploration.frames == 31 * 3


def test_rewards_are_added_up_in_64_bits_and_stored_in_32(tmp_path):
    runner = make_runner(tmp_path, "qframe-test/TwoStep-v0", env_options={"kwargs": {"start_reward": 0.1}})
    rewards = [runner.collector.collect()["next", "reward"] for _ in range(2)]
    assert [reward.dtype for reward in rewards] == [torch.float32, torch.float32]
    assert runner.collector.take_episodes() == ([1.1] * 4, [2] * 4, {})


def test_actions_reach_the_environment_from_its_own_first_number():
    from gymnasium.spaces import Discrete

    space = make_action_space(Discrete(3, start=5), encoding="one-hot")
    assert space.to_env(torch.tensor([0, 2])).tolist() == [5, 7]
    assert space.decode(torch.tensor([2])).tolist() == [[0, 0, 1]]


@pytest.mark.parametrize("exploration", [EGreedyModule(Categorical(2), 0.5, 0.5), Boltzmann(Categorical(2), 0.5, 0.5)])
def test_the_probability_of_each_action_is_stored_when_asked_for(tmp_path, exploration):
    runner = make_runner(tmp_path, "qframe-test/Bandit-v0", num_envs=200)
    plain = runner.collector.collect()
    assert "action_probability" not in plain.keys(True)
    collector = collecting(runner, exploration, stores_probability=True)
    transitions = collector.collect()
    probability = transitions["action_probability"]
    assert (probability.shape, probability.dtype) == ((200, 1), torch.float32)
    shares = [(transitions["action"] == action).float().mean().item() for action in (0, 1)]
    stored = [probability[transitions["action"] == action].unique().tolist() for action in (0, 1)]
    assert stored == [[pytest.approx(share, abs=0.15)] for share in shares]
    assert sum(p[0] for p in stored) == pytest.approx(1.0)


def test_a_probability_that_exploration_does_not_know_is_refused(tmp_path):
    runner = make_runner(tmp_path, "qframe-test/Bandit-v0")
    exploration = EZGreedy(Categorical(2), 1.0, 1.0, 10, num_envs=4)
    with pytest.raises(ValueError, match="EZGreedy cannot give the probability of each action"):
        collecting(runner, exploration, stores_probability=True)


@pytest.mark.parametrize(
    ("replay", "options"),
    [(ReplayBuffer, {"n_step": 3}), (prioritized(ReplayBuffer), {}), (SliceReplayBuffer, {"slice_length": 4})],
)
def test_every_replay_carries_the_probability_of_the_action_that_a_transition_starts_with(tmp_path, replay, options):
    runner = make_runner(tmp_path, "qframe-test/Counter-v0", replay=replay, replay_options=options)
    collector = collecting(runner, EGreedyModule(Categorical(2), 0.5, 0.5), stores_probability=True)
    stored = {}
    for _ in range(40):
        transitions = collector.collect()
        runner.replay.extend(transitions)
        for row in transitions:
            stored[tuple(row["observation"].tolist())] = row["action_probability"].item()
    sample = runner.replay.sample(32).flatten()
    for row in sample:
        assert row["action_probability"].item() == stored[tuple(row["observation"].tolist())]


def collecting(runner, exploration, **options):
    collector = runner.collector
    return Collector(
        collector.envs, runner.network, exploration=exploration, action_space=collector._action_space,
        device=torch.device("cpu"), **options,
    )  # fmt: skip
