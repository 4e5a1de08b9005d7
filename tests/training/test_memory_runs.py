"""Runs of networks with a memory: they learn what has to be remembered, however the environments are stepped."""

from functools import partial

import pytest
import torch

from qframe.networks import GRU, LSTM
from qframe.networks.recurrent_trunk import recurrent_trunk
from qframe.replay import SliceReplayBuffer
from tests.runners import make_runner, prioritized

CHAIN = "qframe.envs.MemoryChain"
EPISODES = {"slice_length": 4, "stride": 4, "across_episodes": False}


def chain(folder, memory, *, replay=SliceReplayBuffer, **options):
    kwargs = {"kwargs": {"length": 3}}
    return make_runner(
        folder, CHAIN, env_options=kwargs, memory=partial(memory, hidden_size=16, horizon=8), replay=replay,
        replay_options=EPISODES, **{"lr": 1e-2, "total_frames": 1500} | options,
    )  # fmt: skip


@pytest.mark.parametrize("memory", [LSTM, GRU])
def test_a_bit_is_remembered(memory, tmp_path):
    summary = chain(tmp_path, memory, replay=prioritized(SliceReplayBuffer)).run()
    assert summary["eval_return_mean"] == 1.0


def test_without_a_memory_the_bit_is_guessed(tmp_path):
    kwargs = {"kwargs": {"length": 3}}
    runner = make_runner(
        tmp_path, CHAIN, env_options=kwargs, replay=SliceReplayBuffer, replay_options=EPISODES, lr=1e-2
    )
    runner.evaluation.final_episodes = 60
    assert abs(runner.run()["eval_return_mean"]) < 0.6


@pytest.mark.parametrize("vectorization", ["sync", "native"])
def test_the_states_that_are_stored_are_those_of_the_sequence(vectorization, tmp_path):
    memory = partial(LSTM, hidden_size=8, inputs=["action", "reward"])
    runner = make_runner(
        tmp_path, "CartPole-v1", memory=memory, vectorization=vectorization, replay=SliceReplayBuffer,
        replay_options={"slice_length": 8},
    )  # fmt: skip
    for _ in range(60):
        runner.replay.extend(runner.collector.collect())
    sample = runner.replay.sample(80)
    unrolled = recurrent_trunk(runner.network).unroll(sample, compares=True)
    assert sample["memory", "is_first"][:, 1:].any()
    torch.testing.assert_close(unrolled.stored.features, unrolled.now.features[:, [0, -1]], rtol=1e-4, atol=1e-5)
    firsts = sample["memory", "is_first"].squeeze(-1)
    assert (sample["memory", "last_action"][firsts] == -1).all()
    assert (sample["memory", "last_reward"][firsts] == 0).all()
    assert (sample["memory", "last_reward"][~firsts] == 1).all()
    inside = ~sample["next", "done"][:, :-1, 0]
    assert torch.equal(sample["memory", "last_action"][:, 1:][inside], sample["action"][:, :-1][inside])


def test_an_evaluation_of_one_environment_at_a_time_scores_as_one_of_many(tmp_path):
    runner = chain(tmp_path, LSTM, total_frames=400)
    runner.run()
    scores = []
    for number in (1, 5):
        runner.evaluation._num_envs = number
        scores.append(runner.evaluation.play(runner.network, episodes=12, stream=("here",)).returns)
    assert scores[0] == scores[1]
