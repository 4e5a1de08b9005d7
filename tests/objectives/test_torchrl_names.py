"""Names that code written for TorchRL uses: keys of the loss, resetting, and attributes of specs."""

from enum import Enum, auto

import pytest
import torch
from tensordict import TensorDict
from torch import nn

from qframe.actions import Binary, Categorical, MultiCategorical, MultiOneHot, OneHot
from qframe.estimators import TDLambda
from qframe.modules import DistributionalQValueActor, DistributionalQValueModule, QValueActor, QValueModule
from qframe.objectives import DQNLoss, SoftUpdate


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


@pytest.mark.parametrize("shape", [(1,), (1, 1)])
def test_an_action_of_another_shape_than_its_spec_raises_or_is_reshaped(shape):
    layer, observation = nn.Linear(3, 4), torch.rand(5, 3)

    def act(**options):
        return QValueActor(layer, spec=Categorical(4, shape=shape), **options)(observation)

    for strict in ({}, {"strict_shape": True}, {"strict_shape": None}):
        with pytest.raises(RuntimeError, match=r"\[5\] does not match expected shape .* set strict_shape='auto'"):
            act(**strict)
    action, values, chosen = act(strict_shape="auto")
    assert action.shape == (5, *shape)
    assert torch.equal(action.flatten(), values.argmax(-1))
    assert torch.equal(chosen.squeeze(-1), values.amax(-1))
    assert act(strict_shape=False)[0].shape == (5,)


def test_an_action_that_cannot_be_reshaped_raises_under_auto():
    with pytest.raises(RuntimeError, match="cannot be reshaped"):
        QValueModule(spec=Categorical(4, shape=(3,)), strict_shape="auto")(torch.rand(5, 4))
    with pytest.raises(ValueError, match="True, False or 'auto', not 'no'"):
        QValueModule("categorical", strict_shape="no")


def test_distributional_modules_take_strict_shape_too():
    spec, support = Categorical(2, shape=(1,)), torch.linspace(0, 1, 3)
    log_probs = torch.rand(5, 3, 2).log_softmax(-2)
    assert DistributionalQValueModule(spec=spec, support=support, strict_shape="auto")(log_probs)[0].shape == (5, 1)
    actor = DistributionalQValueActor(nn.Identity(), spec=spec, support=support, strict_shape="auto")
    assert actor(log_probs)[0].shape == (5, 1)
    with pytest.raises(RuntimeError, match="does not match expected shape"):
        DistributionalQValueModule(spec=spec, support=support)(log_probs)


@pytest.mark.parametrize("space", [OneHot, Categorical, Binary, MultiOneHot, MultiCategorical])
def test_entries_of_a_spec_are_of_its_dtype(space):
    spec = space([2, 3] if space.__name__.startswith("Multi") else 3, dtype=torch.int32)
    drawn = spec.rand((7,))
    assert drawn.dtype == spec.zero().dtype == spec.project(drawn.float()).dtype == torch.int32
    assert spec.is_in(drawn)
    assert not spec.is_in(drawn.long())
    assert "dtype=torch.int32" in str(spec)
    actor = QValueModule(spec=spec, safe=True)
    action, _, chosen = actor(torch.tensor([1.0, 2.0, 0.5, 3.0, 1.0][: spec.num_actions]))
    assert spec.is_in(action)
    assert chosen.item() == {"Binary": 3.5, "MultiOneHot": 5.0, "MultiCategorical": 5.0}.get(space.__name__, 2.0)


def test_a_loss_without_a_target_update_warns_until_it_has_one():
    flag = torch.zeros(4, 1, dtype=torch.bool)
    following = {"observation": torch.rand(4, 3), "reward": torch.ones(4, 1), "done": flag}
    rows = {"observation": torch.rand(4, 3), "action": torch.zeros(4, dtype=torch.int64), "next": following}
    data = TensorDict(rows, [4])
    loss = loss_of()
    with pytest.warns(UserWarning, match="No target network updater has been associated with this loss module"):
        loss(data)
    SoftUpdate(loss, tau=0.1)
    loss(data)
    DQNLoss(loss.value_network)(data)  # no target network
    by_hand = loss_of()
    by_hand.has_target_update = True
    by_hand(data)


def test_an_eps_that_was_meant_as_tau_warns():
    with pytest.warns(UserWarning, match="eps=0.005 below 0.5 is unexpected.*set tau=0.005"):
        SoftUpdate(loss_of(), eps=0.005)
    SoftUpdate(loss_of(), eps=0.5)


def test_the_networks_parameters_are_views():
    loss = loss_of()
    before = loss.value_network_params.clone(), loss.target_value_network_params.clone()
    for parameter in loss.value_network.parameters():
        parameter.data += 1
    now = loss.value_network_params, loss.target_value_network_params
    assert not (before[0] == now[0]).any()
    assert (before[1] == now[1]).all()
    assert not any(leaf.requires_grad for leaf in now[1].values(True, True))


class TheirEstimators(Enum):
    TD0 = auto()
    TDLambda = auto()
    GAE = auto()


def test_members_of_another_enumeration_of_estimators_are_read_by_name():
    loss = loss_of()
    loss.make_value_estimator(TheirEstimators.TDLambda, lambda_=0.5)
    assert isinstance(loss.estimator, TDLambda)
    with pytest.raises(NotImplementedError, match="no value estimator GAE; choose one of TD0"):
        loss.make_value_estimator(TheirEstimators.GAE)
