"""Exploration by a network's noise: acting, its state, and the refusal of a network without any."""

import torch

from qframe.actions import Categorical
from qframe.config import build
from qframe.config.compose import compose
from qframe.exploration import NoisyGreedy
from qframe.networks import QNet
from qframe.networks.noise import noisy_layers
from tests.runners import make_runner


def noisy_net(trunk, head, **options):
    return QNet(trunk, head, noisy=True, noisy_std=2.0, **options)


def test_it_takes_the_greedy_action_and_knows_no_probability():
    explore = NoisyGreedy(Categorical(3))
    assert explore.explore(torch.tensor([2, 0])).tolist() == [2, 0]
    assert explore.metrics == {"epsilon": 0.0}
    assert not explore.has_probability


def test_the_collector_draws_new_noise_at_every_step_and_evaluation_none(tmp_path):
    runner = make_runner(tmp_path, "CartPole-v1", network=noisy_net)
    collector, network = runner.collector, runner.network
    observation, layer = torch.ones(4, 4), noisy_layers(network)[0]
    seen = []
    for _ in range(3):
        collector.act(observation)
        seen.append(layer.stream.noise)
    assert not any(torch.equal(a, b) for i, a in enumerate(seen) for b in seen[:i])
    runner.evaluation.periodic(network, frames=0)
    assert layer.stream.noise is seen[-1]
    assert layer.training
    collector.envs.close()


def test_a_resumed_collector_draws_the_noise_that_would_have_come(tmp_path):
    runner, other = (make_runner(tmp_path / name, "CartPole-v1", network=noisy_net) for name in ("a", "b"))
    observation = torch.ones(4, 4)
    for _ in range(3):
        runner.collector.act(observation)
    other.collector.load_state_dict(runner.collector.state_dict())
    other.network.load_state_dict(runner.network.state_dict())
    for collector in (runner.collector, other.collector):
        collector.act(observation)
    ours, theirs = (one.network.head.layer.stream.noise for one in (runner, other))
    assert torch.equal(ours, theirs)
    runner.collector.envs.close()
    other.collector.envs.close()


def test_a_noisy_run_learns_the_better_action(tmp_path):
    summary = make_runner(tmp_path, "qframe-test/Bandit-v0", network=noisy_net).run()
    assert summary["eval_return_mean"] == 1.0


def test_a_network_without_noise_is_refused_when_it_is_built():
    faults = build.check(compose(["exploration=noisy"], provided=build.PROVIDED))
    assert [str(fault) for fault in faults] == [
        "exploration: nothing would explore, because the network has no noisy layers; set network.noisy=true"
    ]
