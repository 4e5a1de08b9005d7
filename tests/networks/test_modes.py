"""Dropout and batch normalisation work in training mode in the forward pass of a gradient, and nowhere else."""

import pytest
import torch
from tensordict import TensorDict
from torch import nn

from qframe.actions import Categorical, make_action_space
from qframe.envs import GymnasiumEnvs
from qframe.exploration import Greedy
from qframe.heads import ScalarHead
from qframe.networks import NoisyLinear, QNet, Trunk
from qframe.networks.modes import evaluating, set_acting_mode, with_modes
from qframe.objectives import DQNLoss
from qframe.training import Collector
from qframe.training.pipelined import PipelinedCollector

SPACE, CPU = Categorical(2), torch.device("cpu")


class Own(nn.Sequential, Trunk):
    def __init__(self, *layers):
        super().__init__(nn.Linear(4, 8), *layers, nn.ReLU())
        self.num_features = 8


class Asking(Trunk):
    """Records the mode of each forward pass."""

    def __init__(self):
        super().__init__()
        self.linear, self.num_features, self.modes = nn.Linear(4, 8), 8, []

    def forward(self, observation):
        self.modes.append(("train" if self.training else "eval") + ("" if torch.is_grad_enabled() else ", no gradient"))
        return self.linear(observation)


def batch(size=16):
    generator = torch.Generator().manual_seed(0)
    rows = {
        "observation": torch.randn(size, 4, generator=generator),
        "action": torch.randint(2, (size,), generator=generator),
        ("next", "observation"): torch.randn(size, 4, generator=generator),
        ("next", "reward"): torch.randn(size, 1, generator=generator),
        ("next", "terminated"): torch.zeros(size, 1, dtype=torch.bool),
        ("next", "done"): torch.zeros(size, 1, dtype=torch.bool),
    }
    return TensorDict(rows, [size])


def loss_of(*layers, **options):
    return DQNLoss(QNet(Own(*layers), ScalarHead, action_space=SPACE), delay_value=True, gamma=0.9, **options)


@pytest.mark.parametrize("user_mode", [True, False])
def test_only_the_pass_of_the_gradient_is_in_training_mode(user_mode):
    network = QNet(Asking(), ScalarHead, action_space=SPACE)
    loss = DQNLoss(network, delay_value=True, double_dqn=True, gamma=0.9).train(user_mode)
    loss(batch())
    assert network.trunk.modes == ["eval, no gradient", "train"]  # selection, then the gradient
    assert loss.target_value_network.trunk.modes == ["eval, no gradient"]
    assert network.trunk.training is user_mode


def test_dropout_draws_for_the_gradient_alone():
    loss, rows, torch_state = loss_of(nn.Dropout(0.5)), batch(), torch.get_rng_state()
    target = loss.target_value_network
    values = [target.head.value(target.predict(rows["observation"])) for _ in range(2)]
    assert torch.equal(*values)
    assert torch.equal(torch.get_rng_state(), torch_state)
    losses = [loss(rows.clone())["loss"] for _ in range(2)]
    assert not torch.equal(*losses)


def test_batch_normalisation_changes_with_batches_of_the_replay_alone():
    loss = loss_of(nn.BatchNorm1d(8), double_dqn=True)
    norms = [network.trunk[1] for network in (loss.value_network, loss.target_value_network)]
    loss(batch())
    assert [norm.num_batches_tracked.item() for norm in norms] == [1, 0]


@pytest.mark.parametrize("kind", [Collector, PipelinedCollector])
def test_acting_is_in_evaluation_mode_even_in_one_environment(kind):
    torch.manual_seed(0)
    network = QNet(Own(nn.BatchNorm1d(8), nn.Dropout(0.9)), ScalarHead, action_space=SPACE)
    envs = GymnasiumEnvs("CartPole-v1", num_envs=1, vectorization="sync")
    space = make_action_space(envs.action_space, encoding="auto")
    collector = kind(envs.make(0), network, exploration=Greedy(space), action_space=space, device=CPU)
    try:
        inner = getattr(collector, "_inner", collector)
        assert len({inner.act(torch.full((1, 4), 0.1))["action"].item() for _ in range(30)}) == 1
        collector.collect()
        assert network.trunk[1].num_batches_tracked.item() == 0
    finally:
        collector.close()


def test_noise_stays_on_while_acting_and_in_targets_and_is_off_in_evaluation():
    network = QNet(Own(), ScalarHead, action_space=SPACE, noisy=True)
    loss = DQNLoss(network, delay_value=True, gamma=0.9)
    set_acting_mode(network)
    for part in (network, loss.target_value_network):
        assert {module.training for module in part.modules() if isinstance(module, NoisyLinear)} == {True}
        assert not part.trunk.training
    with evaluating(network):
        assert not any(module.training for module in network.modules())
    assert {m.training for m in network.modules() if isinstance(m, NoisyLinear)} == {True}


def test_ordinary_layers_cost_no_switching_and_unknown_ones_are_switched():
    plain = nn.Sequential(nn.Linear(2, 2), nn.Tanh(), nn.Conv2d(1, 1, 1), nn.LayerNorm(2), NoisyLinear(2, 2))
    assert with_modes(plain) == []
    spectral = nn.utils.parametrizations.spectral_norm(nn.Linear(2, 2))
    assert spectral in with_modes(nn.Sequential(spectral))
    assert len(with_modes(QNet(Own(nn.RReLU()), ScalarHead, action_space=SPACE))) == 2
