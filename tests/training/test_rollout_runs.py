"""Runs that learn from rollouts: with every head, masks, joint actions, noise, members, DQV and reward transforms."""

import math

import pytest
import torch

from qframe.config import build
from qframe.config.compose import compose
from qframe.loggers.console import Report

PQN = (
    "replay=rollout", "estimator=td_lambda", "target=none", "loss.delay_value=false", "trunk=mlp",
    "trunk.num_cells=[8]", "trunk.layer_norm=true", "env.num_envs=2", "replay.steps=8", "replay.slice_length=4",
    "replay.minibatches=2", "replay.epochs=2", "total_frames=64", "compile=false", "logger.tensorboard=false",
    "collector=sync",
)  # fmt: skip
PARTS = {
    "scalar": ["head=scalar"],
    "categorical": ["head=categorical"],
    "HL-Gauss": ["head=hl_gauss"],
    "quantile": ["head=quantile"],
    "Watkins": ["estimator=watkins"],
    "masks": ["env=gymnasium", "env.id=qframe-test/Legal-v0"],
    "joint action": ["env=gymnasium", "env.id=qframe-test/Dials-v0", "action_space=auto"],
    "sum of branches": ["env=gymnasium", "env.id=qframe-test/Dials-v0", "action_space.joint=sum"],
    "members": ["network=ensemble", "exploration=bootstrapped"],
    "DQV": ["loss=dqv", "network=shared_trunk", "network.dueling=false"],
    "reward transform": ["reward.normalize=true", "reward.scale=0.5"],
    "memory": ["memory=lstm", "memory.hidden_size=4", "memory.inputs=[action,reward]"],
    "members with memories": ["network=ensemble", "exploration=bootstrapped", "memory=gru", "memory.hidden_size=4"],
    "target network": ["target=soft", "loss.delay_value=true"],
}
WITHOUT_REUSE = {
    "implicit quantiles": ["head=implicit_quantile"],
    "proposed fractions": ["head=fully_parameterized_quantile"],
}


@pytest.fixture
def trained(tmp_path):
    """A function that trains on two rollouts, and collects a third."""
    runners = []

    def train(*overrides):
        config = compose([*PQN, *overrides], provided=build.PROVIDED)
        runner = build.build(config, tmp_path / str(len(runners)), report=Report())
        runners.append(runner)
        runner.train(32)
        assert runner.learner.updates == 8
        assert math.isfinite(runner.learner.take_metrics()["loss/loss"])
        for _ in range(8):
            runner.replay.extend(runner.collector.collect())
        return runner

    yield train
    for runner in runners:
        runner.collector.close()


def losses(runner):
    """The loss of a batch with the values written once for the rollout, and with those computed again."""
    batch = runner.learner._sample()
    assert ("next", "prediction") in batch.keys(True)
    again = batch.exclude(("next", "prediction"))
    return runner.learner.loss(batch)["loss"], runner.learner.loss(again)["loss"]


@pytest.mark.parametrize("part", PARTS)
def test_values_reused_are_those_that_the_same_network_computes(trained, part):
    reused, computed = losses(trained("replay.reuse_values=true", *PARTS[part]))
    torch.testing.assert_close(reused, computed)


def test_values_reused_stay_while_the_network_learns(trained):
    runner = trained("replay.reuse_values=true", "optimizer.lr=0.1")
    runner.learner.learn(1)
    reused, computed = losses(runner)
    assert not torch.allclose(reused, computed)


def test_the_noise_of_reused_values_is_drawn_once_per_rollout(trained):
    runner = trained(
        "replay.reuse_values=true", "replay.minibatches=1", "replay.epochs=4", "network.noisy=true", "exploration=noisy"
    )
    passes = [runner.learner._sample() for _ in range(2)]  # every row twice
    one, other = (batch["next", "prediction"].flatten(0, 1)[batch["index"].flatten().argsort()] for batch in passes)
    assert torch.equal(one, other)


@pytest.mark.parametrize("part", WITHOUT_REUSE)
def test_heads_with_levels_of_their_own_learn_from_rollouts(trained, part):
    assert trained(*WITHOUT_REUSE[part]).replay.unpredicted is None
