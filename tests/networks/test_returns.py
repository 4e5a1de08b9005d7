"""A network with outputs for two returns, of the environment and of a bonus: its loss, its replays, and its runs."""

from functools import partial

import pytest
import torch
from tensordict import TensorDict

from qframe.actions import Categorical
from qframe.estimators import TD0, TDLambda
from qframe.heads import QuantileHead, ScalarHead
from qframe.networks import MLPTrunk, QNet
from qframe.objectives import DQNLoss
from qframe.replay import FrameReplayBuffer, ReplayBuffer, SliceReplayBuffer
from qframe.training import CountBonus
from tests.runners import make_runner

A = 2


def network(num_returns, head=ScalarHead):
    torch.manual_seed(0)
    return QNet(MLPTrunk((4,), num_cells=[8]), head, action_space=Categorical(A), num_returns=num_returns)


def batch():
    draw, size = {"generator": torch.Generator().manual_seed(0)}, (3, 5)
    done = torch.rand(*size, 1, **draw) < 0.3
    return TensorDict(
        {
            "observation": torch.randn(*size, 4, **draw),
            "action": torch.randint(A, size, **draw),
            "next": {
                "observation": torch.randn(*size, 4, **draw),
                "reward": torch.randn(*size, 2, **draw),
                "terminated": done,
                "done": done,
            },
        },
        size,
    )


@pytest.mark.parametrize("estimator", [TD0, TDLambda])
@pytest.mark.parametrize("head", [ScalarHead, partial(QuantileHead, num_quantiles=3)])
def test_the_loss_is_the_mean_of_those_of_two_networks_each_with_one_of_the_rewards(head, estimator):
    both, data, expected = network(2, head), batch(), []
    for number in range(2):
        alone, own = network(1, head), data.clone()
        width = alone.head.layer.out_features
        rows = slice(number * width, (number + 1) * width)
        alone.trunk.load_state_dict(both.trunk.state_dict())
        alone.head.layer.weight.data = both.head.layer.weight.data[rows].clone()
        alone.head.layer.bias.data = both.head.layer.bias.data[rows].clone()
        own["next", "reward"] = data["next", "reward"][..., number : number + 1]
        expected.append(loss_of(alone, own, estimator))
    torch.testing.assert_close(loss_of(both, data, estimator), torch.stack(expected).mean(0))


def loss_of(net, data, estimator):
    loss = DQNLoss(net, delay_value=True, double_dqn=True, gamma=0.9)
    loss.has_target_update = True
    loss.make_value_estimator(estimator())
    return loss(data)["loss"]


def test_a_reward_without_a_bonus_is_refused():
    data = batch()
    data["next", "reward"] = data["next", "reward"][..., :1]
    with pytest.raises(ValueError, match=r"expected \('next', 'reward'\) of shape \[3, 5, 2\], with the bonus"):
        loss_of(network(2), data, TD0)


@pytest.mark.parametrize(
    "kind",
    [
        partial(ReplayBuffer, 40, 30),
        partial(SliceReplayBuffer, 40, 40, slice_length=10),
        partial(FrameReplayBuffer, 40, 30, stack=1),
    ],
    ids=["transitions", "slices", "frames"],
)
def test_each_of_two_rewards_is_added_up_as_it_would_be_alone(kind):
    generator = torch.Generator().manual_seed(0)
    reward, done = torch.randn(40, 2, generator=generator), torch.rand(40, 1, generator=generator) < 0.2
    found = [_sample(kind, reward[:, columns], done) for columns in (slice(2), slice(1), slice(1, 2))]
    assert torch.equal(found[0], torch.cat(found[1:], -1))


def _sample(kind, reward, done):
    """Three-step returns of 40 steps."""
    replay = kind(n_step=3, gamma=0.9, num_envs=1, seed=0)
    seen = torch.arange(41.0).unsqueeze(-1)
    for t in range(40):
        row, ended = slice(t, t + 1), done[t : t + 1]
        following = {"observation": seen[t + 1 : t + 2], "reward": reward[row], "terminated": ended, "done": ended}
        following["truncated"] = torch.zeros_like(ended)
        entries = {"observation": seen[row], "action": torch.zeros(1, dtype=torch.int64), "next": following}
        replay.extend(TensorDict({**entries, "env": torch.zeros(1, dtype=torch.int64)}, [1]))
    return replay.sample()["next", "reward"]


def test_the_environments_return_is_learned_apart_from_the_bonus(tmp_path):
    """Episodes of one step that pays 1, and a bonus besides: one output learns 1, the other one the bonus."""
    options = {"kwargs": {"length": 1, "end_reward": 1.0}}
    runner = make_runner(
        tmp_path, "qframe-test/Terminating-v0", env_options=options, total_frames=1500,
        network=partial(QNet, num_returns=2), bonus=partial(CountBonus, scale=0.5, head="own"),
    )  # fmt: skip
    summary = runner.run()
    batch = runner.replay.sample()
    assert (batch["next", "reward"][:, 0] == 1.0).all()
    assert (batch["next", "reward"][:, 1] > 0.0).all()
    value = runner.network.head.value(runner.network.predict(batch["observation"]))  # [2, B, A]
    taken = value.gather(-1, batch["action"].expand(2, -1).unsqueeze(-1)).squeeze(-1)
    assert (taken[0] - 1.0).abs().mean() < 0.1
    assert 0.0 < taken[1].mean() < 0.5
    torch.testing.assert_close(runner.network(batch)["action_value"], value[0])
    assert summary["eval_return_mean"] == 1.0
