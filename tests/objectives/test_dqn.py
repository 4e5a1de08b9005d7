"""The DQN loss: its semantics for scalar values, in literal numbers."""

import pytest
import torch
from tensordict import TensorDict
from torch import nn

from qframe.actions import Categorical, OneHot
from qframe.estimators import ValueEstimators
from qframe.heads import CategoricalHead, QuantileHead, ScalarHead
from qframe.modules import QValueActor
from qframe.networks import MLPTrunk, QNet, SharedTrunk
from qframe.objectives import DQNLoss, HardUpdate


class Table(nn.Module):
    """Action values looked up by the observation's number, so that targets can be computed by hand."""

    def __init__(self, values):
        super().__init__()
        self.values = nn.Parameter(torch.tensor(values))

    def forward(self, observation):
        return self.values[observation.squeeze(-1).long()]


def transition(observation=0.0, action=0, reward=1.0, next_observation=1.0, **next_entries):
    flags = {"terminated": torch.tensor([[False]]), "done": torch.tensor([[False]])}
    return TensorDict(
        {
            "observation": torch.tensor([[observation]]),
            "action": torch.tensor([action]),
            "next": {
                "observation": torch.tensor([[next_observation]]),
                "reward": torch.tensor([[reward]]),
                **flags,
                **next_entries,
            },
        },
        [1],
    )


def loss_of(values=((1.0, 2.0), (10.0, 20.0)), **options):
    return DQNLoss(Table(values), action_space="categorical", gamma=0.5, **options)


def test_the_target_is_reward_plus_discounted_maximum():
    batch = transition()
    loss = loss_of()(batch)["loss"]
    assert loss.item() == pytest.approx((1 + 0.5 * 20 - 1) ** 2)
    assert batch["td_error"].tolist() == [[10.0]]


def test_td_error_is_absolute_and_has_a_last_dimension():
    batch = transition(action=1, reward=-30.0)
    loss_of()(batch)
    assert batch["td_error"].shape == (1, 1)
    assert batch["td_error"].item() == pytest.approx(22.0)  # |−30 + 10 − 2|


def test_truncated_step_still_bootstraps():
    batch = transition(truncated=torch.tensor([[True]]), done=torch.tensor([[True]]))
    assert loss_of()(batch)["loss"].item() == pytest.approx(100.0)


@pytest.mark.parametrize("flag", [torch.tensor([[True]]), torch.tensor([[1]]), torch.tensor([1.0])])
def test_terminated_step_does_not_bootstrap_for_any_type_of_flag(flag):
    batch = transition(terminated=flag)
    assert loss_of()(batch)["loss"].item() == pytest.approx(0.0)


def test_done_cuts_where_terminated_is_missing():
    batch = transition(done=torch.tensor([[True]])).exclude(("next", "terminated"))
    assert loss_of()(batch)["loss"].item() == pytest.approx(0.0)


@pytest.mark.parametrize("beyond", [torch.nan, torch.inf])
def test_a_terminal_next_state_may_hold_anything(beyond):
    loss = loss_of(((1.0, 2.0), (beyond, beyond)), delay_value=True)
    value = loss(transition(terminated=torch.tensor([[True]]), reward=3.0))["loss"]
    value.backward()
    assert value.item() == pytest.approx(4.0)
    assert loss.value_network.values.grad.isfinite().all()


def test_a_discount_from_the_replay_wins_over_gamma():
    batch = transition(discount=torch.tensor([[0.1]]))
    assert loss_of()(batch)["loss"].item() == pytest.approx((1 + 0.1 * 20 - 1) ** 2)


def test_without_a_discount_gamma_is_raised_to_the_steps_used():
    batch = transition()
    batch["steps_to_next_obs"] = torch.tensor([[3]])
    assert loss_of()(batch)["loss"].item() == pytest.approx((0.125 * 20) ** 2)
    loss = loss_of()
    loss.set_keys(steps_to_next_obs="k")
    assert loss(batch.rename_key_("steps_to_next_obs", "k"))["loss"].item() == pytest.approx((0.125 * 20) ** 2)


def test_double_dqn_selects_online_and_evaluates_with_the_target_network():
    loss = loss_of(delay_value=True, double_dqn=True)
    with torch.no_grad():
        loss.value_network.values[1] = torch.tensor([99.0, 0.0])  # online prefers action 0, worth 10 to the target
    assert loss(transition())["loss"].item() == pytest.approx((1 + 0.5 * 10 - 1) ** 2)


def test_double_dqn_without_a_target_network_is_refused():
    with pytest.raises(ValueError, match="double_dqn=True needs a target network; set delay_value=True"):
        loss_of(double_dqn=True)


def test_the_next_mask_keeps_illegal_actions_out_of_the_maximum():
    batch = transition(action_mask=torch.tensor([[True, False]]))
    assert loss_of()(batch)["loss"].item() == pytest.approx((1 + 0.5 * 10 - 1) ** 2)


def test_importance_weights_multiply_the_loss_before_the_mean():
    batch = torch.cat([transition(), transition(terminated=torch.tensor([[True]]), reward=3.0)])
    batch["priority_weight"] = torch.tensor([[0.5], [1.0]])
    assert loss_of()(batch)["loss"].item() == pytest.approx((0.5 * 100 + 4) / 2)
    assert loss_of(reduction=None)(batch)["loss"].item() == pytest.approx((0.5 * 100 + 4) / 2)
    assert loss_of(reduction="sum")(batch)["loss"].item() == pytest.approx(54.0)
    assert loss_of(reduction="none")(batch)["loss"].tolist() == pytest.approx([50.0, 4.0])


def test_priority_may_be_the_loss_itself():
    batch = transition()
    loss = loss_of(priority="loss")
    loss(batch)
    assert loss.priority_key == "priority"
    assert batch["priority"].tolist() == [[100.0]]


def test_a_keyword_call_returns_the_loss_alone():
    loss = loss_of()
    value = loss(
        observation=torch.tensor([0.0]),
        action=torch.tensor(0),
        next_observation=torch.tensor([1.0]),
        next_reward=torch.tensor([1.0]),
        next_done=torch.tensor([False]),
    )
    assert value.shape == ()
    assert value.item() == pytest.approx(100.0)
    assert loss.in_keys == [
        "observation", ("next", "observation"), "action", ("next", "reward"), ("next", "done"), ("next", "terminated")
    ]  # fmt: skip


def test_one_hot_actions_give_the_same_loss_as_indices():
    batch = transition(action=1)
    hot = batch.clone()
    hot["action"] = torch.tensor([[0, 1]])
    network = Table(((1.0, 2.0), (10.0, 20.0)))
    by_index = DQNLoss(network, action_space="categorical")(batch)["loss"]
    assert DQNLoss(network, action_space=OneHot(2))(hot)["loss"].item() == by_index.item()


def test_an_action_space_that_differs_from_the_networks_is_refused():
    actor = QValueActor(nn.Linear(1, 2), spec=Categorical(2))
    with pytest.raises(ValueError, match="network's action space 'categorical', got 'one-hot'"):
        DQNLoss(actor, action_space="one-hot")
    with pytest.raises(ValueError, match="neither the loss nor its network has an action space"):
        DQNLoss(nn.Linear(1, 2))


def test_bits_are_refused_when_the_loss_is_built():
    with pytest.raises(ValueError, match="a 'binary' action space cannot be trained on"):
        DQNLoss(nn.Linear(1, 4), action_space="binary")


@pytest.mark.parametrize("name", ["td0", "TD1", "TD-Lambda", ValueEstimators.TDLambda])
def test_estimators_are_chosen_by_name(name):
    loss = loss_of()
    loss.make_value_estimator(name)
    assert type(loss.estimator).__name__.lower() == str(getattr(name, "value", name)).lower().replace("-", "")


def test_hyperparameters_that_are_not_given_again_are_kept():
    loss = loss_of()
    loss.make_value_estimator("TDLambda", lambda_=0.3)
    assert loss.gamma == 0.5
    loss.make_value_estimator(gamma=0.7)
    assert (loss.gamma, loss.estimator.lambda_) == (0.7, 0.3)


def test_estimators_and_hyperparameters_the_loss_cannot_use_are_refused_with_the_list():
    loss = loss_of()
    with pytest.raises(ValueError, match="no value estimator 'GAE'; choose one of TD0, TD1, TDLambda"):
        loss.make_value_estimator("GAE")
    with pytest.raises(ValueError, match="TDLambda takes gamma, lambda_, not lmbda"):
        loss.make_value_estimator("TDLambda", lmbda=0.9)
    with pytest.raises(ValueError, match="gamma between 0 and 1"):
        loss.make_value_estimator(gamma=1.5)


def trajectory():
    """Two steps of one episode on the table: states 0 → 1 → 0, rewards 1 and 2, actions 0 and 1."""
    return TensorDict(
        {
            "observation": torch.tensor([[[0.0], [1.0]]]),
            "action": torch.tensor([[0, 1]]),
            "next": {
                "observation": torch.tensor([[[1.0], [0.0]]]),
                "reward": torch.tensor([[[1.0], [2.0]]]),
                "terminated": torch.zeros(1, 2, 1, dtype=torch.bool),
                "done": torch.zeros(1, 2, 1, dtype=torch.bool),
            },
        },
        [1, 2],
    )


def test_td_lambda_runs_along_time():
    loss = loss_of()
    loss.make_value_estimator("TDLambda", lambda_=0.8)
    batch = trajectory()
    loss(batch)
    last = 2 + 0.5 * 2  # 3
    first = 1 + 0.5 * (20 + 0.8 * (last - 20))  # 4.2
    assert batch["td_error"].flatten().tolist() == pytest.approx([abs(first - 1), abs(last - 20)])


def test_time_may_be_any_dimension_that_is_named_so():
    loss = loss_of()
    loss.make_value_estimator("TDLambda", lambda_=0.8)
    last, first = trajectory(), trajectory().transpose(0, 1).contiguous()
    last.names, first.names = [None, "time"], ["time", None]
    values = [loss(batch)["loss"].item() for batch in (last, first)]
    assert values[0] == values[1]
    assert first["td_error"].squeeze().tolist() == last["td_error"].squeeze().tolist()


@pytest.mark.parametrize("name", ["TD1", "TDLambda"])
def test_a_flat_batch_is_no_trajectory(name):
    loss = loss_of()
    loss.make_value_estimator(name)
    with pytest.raises(ValueError, match=f"{name} needs a batch with a time dimension .*, not a flat one"):
        loss(transition())


def test_entries_whose_shapes_disagree_are_named():
    batch = transition()
    batch["next", "reward"] = torch.zeros(1, 3)
    with pytest.raises(ValueError, match=r"\('next', 'reward'\) of shape \[1\] or \[1, 1\].*got \[1, 3\]"):
        loss_of()(batch)


def test_keys_can_be_renamed():
    loss = loss_of()
    loss.set_keys(priority="delta", reward="r")
    batch = transition(r=torch.tensor([[1.0]]))
    loss(batch)
    assert batch["delta"].item() == pytest.approx(10.0)
    with pytest.raises(ValueError, match="there is no key advantages"):
        loss.set_keys(advantages="x")


@pytest.mark.parametrize("network", [QNet, SharedTrunk])
@pytest.mark.parametrize("head", [ScalarHead, CategoricalHead, QuantileHead])
def test_the_state_dict_is_the_same_before_and_after_the_first_forward(network, head):
    built = network(MLPTrunk((1,), num_cells=[8]), head, action_space=Categorical(2))
    loss = DQNLoss(built, delay_value=True, double_dqn=True)
    before = list(loss.state_dict())
    loss(transition())["loss"].backward()
    assert list(loss.state_dict()) == before
    assert any(key.startswith("target_value_network") for key in before)


def test_modes_reach_the_network_and_only_the_online_one_gets_gradients():
    loss = DQNLoss(nn.Sequential(nn.Linear(1, 2), nn.Dropout()), action_space="categorical", delay_value=True)
    loss.eval()
    assert not loss.value_network[1].training
    loss(transition())["loss"].backward()
    assert loss.value_network[0].weight.grad is not None
    assert loss.target_value_network[0].weight.grad is None
    HardUpdate(loss, value_network_update_interval=1).step()


def test_a_lazy_network_has_no_target_copy_until_its_sizes_are_known():
    network = nn.Sequential(nn.LazyLinear(2))
    with pytest.raises(ValueError, match="cannot copy a lazy network; call the network once first"):
        DQNLoss(network, action_space="categorical", delay_value=True)
    network(torch.zeros(1, 4))
    DQNLoss(network, action_space="categorical", delay_value=True)
