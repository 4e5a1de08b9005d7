"""Other people's networks under the one loss."""

import pytest
import torch
from tensordict import TensorDict
from torch import nn

from qframe.actions import Categorical, MultiOneHot, OneHot
from qframe.heads import CategoricalHead, ScalarHead
from qframe.modules import Actor, DistributionalQValueActor, QValueActor, QValueHook
from qframe.networks import MLP, MLPTrunk, QNet
from qframe.objectives import DistributionalDQNLoss, DQNLoss


def batch(action=None):
    torch.manual_seed(1)
    return TensorDict(
        {
            "observation": torch.randn(6, 4),
            "action": torch.randint(3, (6,)) if action is None else action,
            "next": {
                "observation": torch.randn(6, 4),
                "reward": torch.randn(6, 1),
                "done": torch.zeros(6, 1, dtype=torch.bool),
            },
        },
        [6],
    )


def test_a_module_an_actor_and_a_network_of_ours_give_the_same_loss():
    network = QNet(MLPTrunk((4,), num_cells=[8]), ScalarHead, action_space=Categorical(3))
    plain = nn.Sequential(network.trunk, network.head.layer)
    actor = QValueActor(plain, in_keys=["observation"], spec=Categorical(3))
    losses = [
        DQNLoss(network)(batch())["loss"],
        DQNLoss(plain, action_space="categorical")(batch())["loss"],
        DQNLoss(actor)(batch())["loss"],
    ]
    assert losses[0].item() == pytest.approx(losses[1].item()) == pytest.approx(losses[2].item())


def test_an_actor_with_a_hook_trains():
    module = nn.Linear(4, 3)
    module.register_forward_hook(QValueHook("categorical"))
    actor = Actor(module=module, spec=Categorical(3), out_keys=["action", "action_value"])
    plain = nn.Linear(4, 3)
    plain.load_state_dict(module.state_dict())
    expected = DQNLoss(plain, action_space="categorical")(batch())["loss"]
    loss = DQNLoss(actor, action_space="categorical", delay_value=True)(batch())["loss"]
    loss.backward()
    assert loss.item() == pytest.approx(expected.item())
    assert module.weight.grad is not None


def test_a_stored_illegal_action_and_a_mask_stay_finite():
    actor = QValueActor(nn.Linear(4, 3), in_keys=["observation"], spec=Categorical(3), action_mask_key="action_mask")
    data = batch(action=torch.zeros(6, dtype=torch.int64))
    legal = torch.tensor([False, True, True]).expand(6, 3)
    data["action_mask"], data["next", "action_mask"] = legal, legal
    loss = DQNLoss(actor, delay_value=True)(data)["loss"]
    loss.backward()
    assert loss.isfinite()
    assert all(p.grad.isfinite().all() for p in actor.parameters())


def distributional(support=None):
    support = torch.linspace(-2, 2, 5) if support is None else support
    network = MLP(4, (len(support), 3), num_cells=[8])
    return DistributionalQValueActor(network, support=support, action_space="categorical")


def test_a_distributional_actor_equals_our_categorical_head():
    actor = distributional()
    logits = actor.module[0].module  # [*B, N, A]

    class Trunk(nn.Module):
        num_features = 15

        def forward(self, observation):
            return logits(observation).transpose(-1, -2).flatten(-2)

    def head(features, actions):
        built = CategoricalHead(features, actions, num_atoms=5, v_min=-2, v_max=2)
        built.layer = nn.Identity()
        return built

    ours = DQNLoss(QNet(Trunk(), head, action_space=Categorical(3)))(batch())["loss"]
    theirs = [DQNLoss(actor)(batch())["loss"], DistributionalDQNLoss(actor, gamma=0.99)(batch())["loss"]]
    assert theirs[0].item() == pytest.approx(ours.item()) == pytest.approx(theirs[1].item())


def test_the_distributional_loss_is_double_where_it_has_a_target_network():
    actor, data, values = distributional(), batch(), []
    for loss in (DistributionalDQNLoss(actor, delay_value=True), *(
        DQNLoss(actor, delay_value=True, double_dqn=double) for double in (True, False)
    )):  # fmt: skip
        generator = torch.Generator().manual_seed(5)
        for parameter in loss.target_value_network.parameters():
            parameter.data.copy_(3 * torch.randn(parameter.shape, generator=generator))
        values.append(loss(data)["loss"].item())
    assert values[0] == values[1] != values[2]


def test_the_distributional_loss_trains_joint_actions_by_branching():
    support = torch.linspace(-2, 2, 5)
    actor = DistributionalQValueActor(MLP(4, (5, 5), num_cells=[8]), support=support, spec=MultiOneHot([2, 3]))
    action = MultiOneHot([2, 3]).rand((6,), torch.Generator().manual_seed(0))
    loss = DistributionalDQNLoss(actor, gamma=0.9)(batch(action))["loss"]
    assert loss.item() == DQNLoss(actor, joint="branching", gamma=0.9)(batch(action))["loss"].item()
    loss.backward()
    assert all(parameter.grad.abs().sum() > 0 for parameter in actor.parameters())


def test_the_distributional_loss_writes_its_priority_under_the_key_given():
    data = batch()
    DistributionalDQNLoss(distributional(), delay_value=True, priority_key="delta")(data)
    assert data["delta"].shape == (6, 1)


@pytest.mark.parametrize("support", [[0.0, 1.0, 5.0], [0.0], [0.0, torch.nan, 2.0]])
def test_a_support_that_is_not_evenly_spaced_or_has_one_atom_is_refused(support):
    with pytest.raises(ValueError, match="support"):
        DQNLoss(distributional(torch.tensor(support)))


def test_a_loss_function_is_for_scalar_networks_without_a_head():
    with pytest.raises(ValueError, match="head of its own"):
        DQNLoss(QNet(MLPTrunk((4,), num_cells=[8]), ScalarHead, action_space=Categorical(3)), loss_function="l1")
    with pytest.raises(ValueError, match="distributional network"):
        DQNLoss(distributional(), loss_function="l1")
    with pytest.raises(ValueError, match="the network has no support; use DQNLoss"):
        DistributionalDQNLoss(QValueActor(nn.Linear(4, 3), spec=OneHot(3)))


@pytest.mark.parametrize("name", ["l2", "l1", "smooth_l1"])
def test_the_loss_function_of_a_plain_network_is_chosen(name):
    torch.manual_seed(0)
    network, data = nn.Linear(4, 3), batch()
    ours = DQNLoss(network, action_space="categorical", loss_function=name)(data)["loss"]
    goal = data["next", "reward"] + 0.99 * network(data["next", "observation"]).amax(-1, keepdim=True)
    value = network(data["observation"]).gather(-1, data["action"].unsqueeze(-1))
    of_torch = {"l2": nn.functional.mse_loss, "l1": nn.functional.l1_loss, "smooth_l1": nn.functional.smooth_l1_loss}
    assert ours.item() == pytest.approx(of_torch[name](value, goal).item(), rel=1e-5)
