"""Names that code written for TorchRL uses: keys of the loss, resetting, and attributes of specs."""

import pytest
import torch
from tensordict import TensorDict
from torch import nn

from qframe.actions import Categorical, MultiCategorical, MultiOneHot
from qframe.modules import QValueActor
from qframe.objectives import DQNLoss


def loss_of(**options):
    torch.manual_seed(0)
    return DQNLoss(QValueActor(nn.Linear(3, 2), spec=Categorical(2), **options), delay_value=True)


def test_every_key_of_the_reference_is_known_and_those_that_the_loss_reads_are_read():
    loss = loss_of()
    assert loss.default_keys.priority == "td_error"
    loss.set_keys(
        action="a", reward="r", done="d", terminated="t", priority="p", action_value="action_value", value="v",
        advantage="x", value_target="y",
    )  # fmt: skip
    assert (loss.tensor_keys.action, loss.tensor_keys.value_target) == ("a", "y")
    flag = torch.zeros(4, 1, dtype=torch.bool)
    following = {"observation": torch.rand(4, 3), "r": torch.ones(4, 1), "d": flag, "t": flag}
    data = TensorDict({"observation": torch.rand(4, 3), "a": torch.zeros(4, dtype=torch.int64), "next": following}, [4])
    loss(data)
    assert data["p"].shape == (4, 1)


def test_action_values_are_read_where_the_network_writes_them():
    loss = loss_of(action_value_key="q")
    assert loss.tensor_keys.action_value == "q"
    loss.set_keys(action_value="q")
    with pytest.raises(ValueError, match="writes its action values under 'q', not 'other'"):
        loss.set_keys(action_value="other")


def test_parameters_are_drawn_again_for_both_networks():
    loss = loss_of()
    before = [parameter.clone() for parameter in loss.value_network.parameters()]
    loss.reset_parameters_recursive()
    pairs = zip(loss.value_network.parameters(), loss.target_value_network.parameters(), before, strict=True)
    for online, target, old in pairs:
        assert torch.equal(online, target)
        assert not torch.equal(online, old)


def test_sizes_of_components_and_the_shape_of_several_indices():
    assert MultiCategorical([2, 3]).nvec.tolist() == MultiOneHot([2, 3]).nvec.tolist() == [2, 3]
    spec = Categorical(3, shape=(5,))
    assert spec.rand((7,)).shape == (7, 5)
    assert spec.is_in(spec.rand())
    assert not spec.is_in(torch.tensor(1))
    assert spec != Categorical(3)
    assert str(spec) == "Categorical(3, shape=[5])"
