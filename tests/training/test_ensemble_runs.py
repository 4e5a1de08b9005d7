"""Whole runs with an ensemble: exploration as deep as the episode, and every replay carries the masks."""

from functools import partial

import pytest
import torch

from qframe.exploration import Bootstrapped, EGreedyModule
from qframe.heads import CategoricalHead, QuantileHead, ScalarHead
from qframe.networks import EnsembleQNet
from qframe.replay import ReplayBuffer, SliceReplayBuffer
from tests.runners import make_runner, prioritized


def exploring_by_members(runner, seed=0):
    runner.collector.exploration = Bootstrapped(
        runner.collector._action_space, num_members=10, num_envs=4, bootstrap_probability=0.5, seed=seed
    )
    return runner


def deep_sea(folder, **options):
    """A treasure behind ten steps right: uniformly random actions find it in one episode of 1024."""
    settings = {"gamma": 0.99, "lr": 3e-3, "total_frames": 8000, "every": 8, "learning_starts": 200}
    return make_runner(folder, "qframe-test/DeepSea-v0", replay=replay_of_all, **settings | options)


def replay_of_all(capacity, batch_size, **options):
    return ReplayBuffer(8000, 64, **options)


def test_an_ensemble_finds_what_lies_behind_many_steps_and_epsilon_greedy_does_not(tmp_path):
    network = partial(EnsembleQNet, num_members=10, prior_scale=5.0)
    summary = exploring_by_members(deep_sea(tmp_path / "ensemble", network=network)).run()
    assert summary["eval_return_mean"] == pytest.approx(0.7)
    runner = deep_sea(tmp_path / "epsilon")
    runner.collector.exploration = EGreedyModule(runner.collector._action_space, 1.0, 0.05, 4000)
    assert runner.run()["eval_return_mean"] <= 0.0


HEADS = {
    "scalar": ScalarHead,
    "categorical": partial(CategoricalHead, num_atoms=21, v_min=-2, v_max=2),
    "quantile": partial(QuantileHead, num_quantiles=8),
}


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize(
    ("replay", "options", "estimator"),
    [
        (ReplayBuffer, {"n_step": 2}, "TD0"),
        (prioritized(ReplayBuffer), {}, "TD0"),
        (SliceReplayBuffer, {"slice_length": 4}, "TDLambda"),
    ],
)
def test_an_ensemble_reaches_the_known_values_with_every_replay(tmp_path, head, replay, options, estimator):
    runner = exploring_by_members(
        make_runner(
            tmp_path,
            "qframe-test/TwoStep-v0",
            head=HEADS[head],
            network=partial(EnsembleQNet, num_members=10),
            replay=replay,
            replay_options=options,
            estimator=estimator,
            total_frames=500,
            lr=1e-2,
        )
    )
    runner.run()
    assert runner.replay.sample()["bootstrap_mask"].shape[-1] == 10
    with torch.no_grad():
        value = runner.network.head.value(runner.network.predict(torch.tensor([[0.0], [0.5]])))  # [K, 2, A]
    assert value.mean((0, -1)).tolist() == pytest.approx([0.9, 1.0], abs=0.1)


def test_trunk_and_prior_read_observations_on_the_same_scale(tmp_path):
    network = partial(EnsembleQNet, num_members=10, prior_scale=1.0)
    runner = exploring_by_members(
        make_runner(tmp_path, "qframe-test/TwoStep-v0", network=network, normalize_observation=True, total_frames=200)
    )
    runner.run()
    trunk, prior = runner.network.trunk.norms[0], runner.network.prior_trunk.norms[0]
    assert trunk.mean.item() == prior.mean.item() == pytest.approx(0.25, abs=0.01)


def test_a_resumed_run_keeps_its_members_and_draws_new_ones_for_abandoned_episodes(tmp_path):
    make = partial(make_runner, env="qframe-test/TwoStep-v0", network=partial(EnsembleQNet, num_members=10))
    first = exploring_by_members(make(tmp_path / "first", total_frames=400))
    first.run()
    state = first.collector.state_dict()
    collected = []
    for name in ("second", "third"):
        collector = exploring_by_members(make(tmp_path / name), seed=5).collector
        collector.load_state_dict(state)
        assert torch.equal(collector.exploration.member, first.collector.exploration.member)
        assert collector.resume_episodes(state["running"])
        collector.abandon_episodes()
        assert not torch.equal(collector.exploration.member, first.collector.exploration.member)
        collected.append(torch.stack([collector.collect()["bootstrap_mask"] for _ in range(5)]))
    assert torch.equal(*collected)
