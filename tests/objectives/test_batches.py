"""What a batch may look like: dtypes of rewards, missing entries, masks under the actor's key, time first."""

import pickle

import pytest
import torch
from tensordict import TensorDict
from torch import nn

from qframe.actions import Categorical, OneHot
from qframe.heads import CategoricalHead, ScalarHead
from qframe.modules import DistributionalQValueActor, QValueActor
from qframe.networks import MLP, MLPTrunk, QNet
from qframe.objectives import DQNLoss


def batch(**next_entries):
    torch.manual_seed(1)
    return TensorDict(
        {
            "observation": torch.randn(6, 4),
            "action": torch.randint(2, (6,)),
            "next": {
                "observation": torch.randn(6, 4),
                "reward": torch.ones(6, 1),
                "terminated": torch.zeros(6, 1, dtype=torch.bool),
                **next_entries,
            },
        },
        [6],
    )


def network(head=ScalarHead):
    return QNet(MLPTrunk((4,), num_cells=[8]), head, action_space=Categorical(2))


@pytest.mark.parametrize("head", [ScalarHead, CategoricalHead])
@pytest.mark.parametrize("dtype", [torch.int64, torch.uint8, torch.float64, torch.bfloat16])
def test_rewards_of_any_dtype_give_the_same_target(head, dtype):
    loss = DQNLoss(network(head))
    plain, typed = loss(batch())["loss"], loss(batch(reward=torch.ones(6, 1, dtype=dtype)))["loss"]
    assert typed.dtype is torch.float32
    assert typed.item() == plain.item()


def test_a_projection_takes_rewards_and_probabilities_of_different_precision():
    loss = DQNLoss(network(CategoricalHead))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value = loss(batch())["loss"]
    assert value.item() == pytest.approx(loss(batch())["loss"].item(), abs=0.05)


@pytest.mark.parametrize("key", [("action",), ("observation",), ("next",), ("next", "reward"), ("next", "observation")])
def test_a_missing_entry_is_named(key):
    with pytest.raises(KeyError, match=key[-1]):
        DQNLoss(network())(batch().exclude(key))


def test_the_loss_reads_the_mask_that_its_actor_reads():
    actor = QValueActor(nn.Linear(4, 2), spec=Categorical(2), action_mask_key="legal")
    loss, data = DQNLoss(actor, gamma=0.5), batch()
    data["legal"] = torch.ones(6, 2, dtype=torch.bool)
    with pytest.raises(KeyError, match="legal"):
        loss(data)
    data["next", "legal"] = torch.tensor([True, False]).expand(6, 2)
    value = actor.module[0].module
    target = 1 + 0.5 * value(data["next", "observation"])[:, :1]
    loss(data)
    expected = (target - value(data["observation"]).gather(-1, data["action"].unsqueeze(-1))).abs()
    assert torch.allclose(data["td_error"], expected)


def test_actions_of_another_number_than_the_networks_are_refused():
    actor = QValueActor(nn.Linear(4, 3), spec=OneHot(3))
    with pytest.raises(ValueError, match=r"network's action space one-hot\(3\), got OneHot\(4\)"):
        DQNLoss(actor, action_space=OneHot(4))


def test_a_network_of_another_number_of_atoms_than_the_support_is_refused():
    support = torch.linspace(-1, 1, 5)
    with pytest.raises(ValueError, match=r"N = 5 atoms of the support, got \[7, 2\]"):
        DistributionalQValueActor(MLP(4, (7, 2)), support=support, action_space="categorical")
    silent = nn.Sequential(MLP(4, (7, 2)))
    loss = DQNLoss(DistributionalQValueActor(silent, support=support, action_space="categorical"))
    with pytest.raises(ValueError, match=r"N = 5 atoms, got shape \[6, 7, 2\]"):
        loss(batch())


def test_an_unreduced_loss_has_the_layout_of_its_batch():
    loss = DQNLoss(network(), reduction="none")
    data = torch.stack([batch(), batch(), batch()])
    data.names = ["time", None]
    value = loss(data)["loss"]
    assert value.shape == (3, 6)
    assert torch.allclose(value, data["td_error"].squeeze(-1).square())


def test_a_loss_can_be_pickled():
    loss, data = DQNLoss(network(), delay_value=True), batch()
    assert pickle.loads(pickle.dumps(loss))(data)["loss"].item() == loss(data)["loss"].item()
