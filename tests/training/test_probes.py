"""Whole runs on tiny environments whose values are known, with every head."""

from functools import partial
from pathlib import Path

import pytest
import torch
import yaml

from qframe.heads import (
    CategoricalHead,
    FullyParameterizedQuantileHead,
    HLGaussHead,
    ImplicitQuantileHead,
    QuantileHead,
    ScalarHead,
)
from qframe.networks import QNet, SharedTrunk
from qframe.replay import ReplayBuffer, SliceReplayBuffer
from tests.runners import make_runner, prioritized

make = partial(make_runner, total_frames=240, lr=2e-2, tau=0.2)
HEADS = {
    "scalar": ScalarHead,
    "categorical": lambda features, actions: CategoricalHead(features, actions, num_atoms=41, v_min=-12, v_max=12),
    "quantile": lambda features, actions: QuantileHead(features, actions, num_quantiles=8),
    "hl_gauss": lambda features, actions: HLGaussHead(features, actions, num_atoms=41, v_min=-12, v_max=12),
    "implicit_quantile": lambda features, actions: ImplicitQuantileHead(
        features, actions, num_quantiles=8, num_target_quantiles=8
    ),
    "fully_parameterized_quantile": lambda features, actions: FullyParameterizedQuantileHead(
        features, actions, num_quantiles=8
    ),
    "transformed": lambda features, actions: QuantileHead(features, actions, num_quantiles=8, transform="h"),
}


def values(runner, observation):
    network = runner.network
    with torch.no_grad():
        return network.head.value(network.predict(torch.tensor([[observation]])))[0]


@pytest.fixture(params=HEADS)
def head(request):
    return HEADS[request.param]


def test_a_terminating_episode_is_worth_its_reward(tmp_path, head):
    runner = make(tmp_path, "qframe-test/Terminating-v0", head=head)
    runner.run()
    assert values(runner, 0.0).tolist() == pytest.approx([1.0, 1.0], abs=0.1)


def test_a_truncated_episode_is_worth_the_endless_sum(tmp_path, head):
    runner = make(tmp_path, "qframe-test/Endless-v0", head=head, gamma=0.5)
    runner.run()
    assert values(runner, 0.0).tolist() == pytest.approx([2.0, 2.0], abs=0.1)


def test_a_reward_two_steps_away_is_discounted_once(tmp_path, head):
    runner = make(tmp_path, "qframe-test/TwoStep-v0", head=head)
    runner.run()
    assert values(runner, 0.0).mean().item() == pytest.approx(0.9, abs=0.1)
    assert values(runner, 0.5).mean().item() == pytest.approx(1.0, abs=0.1)


def test_the_better_action_is_found(tmp_path, head):
    runner = make(tmp_path, "qframe-test/Bandit-v0", head=head)
    summary = runner.run()
    assert values(runner, 0.0).tolist() == pytest.approx([-1.0, 1.0], abs=0.15)
    assert summary["eval_return_mean"] == 1.0


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_default_head_prefers_a_rare_large_reward_that_is_better_in_the_mean(tmp_path, seed):
    """Huber's centre of its returns is .1, below the other action's 1."""
    head = partial(ScalarHead, loss_function=yaml.safe_load(Path("conf/head/scalar.yaml").read_text())["loss_function"])
    runner = make_runner(tmp_path, "qframe-test/RareReward-v0", head=head, seed=seed, total_frames=3000)
    runner.run()
    usual, rare = values(runner, 0.0).tolist()
    assert usual == pytest.approx(1.0, abs=0.2)
    assert rare > usual


@pytest.mark.parametrize("network", [QNet, SharedTrunk])
@pytest.mark.parametrize(
    ("replay", "options", "estimator"),
    [
        (ReplayBuffer, {"n_step": 3}, "TD0"),
        (prioritized(ReplayBuffer), {"n_step": 2}, "TD0"),
        (SliceReplayBuffer, {"slice_length": 4}, "TD1"),
        (SliceReplayBuffer, {"slice_length": 4}, "TDLambda"),
        (prioritized(SliceReplayBuffer), {"slice_length": 4}, "Watkins"),
        (prioritized(ReplayBuffer), {"n_step": 2}, "Munchausen"),
    ],
)
def test_every_replay_and_estimator_reaches_the_known_values(tmp_path, network, replay, options, estimator):
    runner = make(
        tmp_path,
        "qframe-test/TwoStep-v0",
        network=network,
        replay=replay,
        replay_options=options,
        estimator=estimator,
        total_frames=400,
    )
    runner.run()
    assert values(runner, 0.0).mean().item() == pytest.approx(0.9, abs=0.1)
    assert values(runner, 0.5).mean().item() == pytest.approx(1.0, abs=0.1)
