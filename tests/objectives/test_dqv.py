"""DQV: one target for the state value and the action values, with every head, and what it refuses."""

import numpy as np
import pytest
import torch

from qframe.actions import Categorical, MultiCategorical, OneHot
from qframe.heads import ScalarHead
from qframe.networks import MLPTrunk, QNet, SharedTrunk
from qframe.objectives import DQVLoss, HardUpdate
from tests.heads.test_heads_oracle import ACTIONS, GAMMA, HEADS, B, T, head_loss, law_of, mean_of, random_batch


def network(head="scalar", spec=None, **options):
    torch.manual_seed(0)
    options = {"dueling": False} | options
    return SharedTrunk(MLPTrunk((2,), num_cells=[8]), HEADS[head], action_space=spec or Categorical(ACTIONS), **options)


def built(head="scalar", **options):
    loss = DQVLoss(network(head), **{"delay_value": True, "gamma": GAMMA} | options)
    with torch.no_grad():
        for parameter in loss.target_value_network.parameters():
            if parameter is not None and loss.delay_value:
                parameter.add_(0.3 * torch.randn_like(parameter))
    return loss


def streams(module, observation):
    with torch.no_grad():
        action, state = module.predict_streams(observation)
    return action.out.double().numpy(), state.out.squeeze(-2).double().numpy()


@pytest.mark.parametrize("head", HEADS)
def test_both_heads_learn_the_target_networks_state_value_by_loops(head):
    loss, batch = built(head), random_batch((B,), 1)
    action, state = streams(loss.value_network, batch["observation"])
    _, following = streams(loss.target_value_network, batch["next", "observation"])
    expected, errors = 0.0, []
    for i in range(B):
        location, mass = law_of(head, following[i])
        reward, terminated = batch["next", "reward"][i].item(), batch["next", "terminated"][i].item()
        location = reward + (0.0 if terminated else GAMMA) * location
        mass = mass * 0 + 1 / len(mass) if terminated else mass
        chosen = action[i, batch["action"][i]]
        expected += (head_loss(head, chosen, location, mass) + head_loss(head, state[i], location, mass)) / B
        errors.append(abs((location.clip(-2, 2) if head == "categorical" else location) @ mass - mean_of(head, chosen)))
    assert loss(batch)["loss"].item() == pytest.approx(expected, rel=1e-5)
    assert batch["td_error"].squeeze(-1).tolist() == pytest.approx(errors, rel=1e-4)


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("estimator", ["TD0", "TD1", "TDLambda"])
def test_every_head_trains_along_time_and_all_streams_get_a_gradient(head, estimator):
    loss, batch = built(head), random_batch((B, T), 2)
    batch["next", "observation"][batch["next", "terminated"].squeeze(-1)] = torch.nan
    loss.make_value_estimator(estimator)
    loss(batch)["loss"].backward()
    gradients = [parameter.grad for parameter in loss.value_network.parameters()]
    assert all(gradient is not None and gradient.isfinite().all() and gradient.any() for gradient in gradients)


def test_td_lambda_bootstraps_on_state_values():
    loss, batch = built(), random_batch((1, 2), 3)
    for name in ("terminated", "truncated", "done"):
        batch["next", name] = torch.zeros(1, 2, 1, dtype=torch.bool)
    loss.make_value_estimator("TDLambda", lambda_=0.8)
    first, last = streams(loss.target_value_network, batch["next", "observation"])[1][0, :, 0]
    end = batch["next", "reward"][0, 1].item() + GAMMA * last
    start = batch["next", "reward"][0, 0].item() + GAMMA * (first + 0.8 * (end - first))
    chosen = streams(loss.value_network, batch["observation"])[0][0, [0, 1], batch["action"][0], 0]
    loss(batch)
    errors = [abs(start - chosen[0]), abs(end - chosen[1])]
    assert batch["td_error"].flatten().tolist() == pytest.approx(errors, rel=1e-5)


def test_a_next_mask_does_not_touch_the_state_value():
    loss, batch = built(), random_batch((B,), 4)
    value = loss(batch)["loss"].item()
    batch["next", "action_mask"] = torch.ones_like(batch["next", "action_mask"])
    assert loss(batch)["loss"].item() == value


def test_one_hot_actions_noisy_layers_and_target_updates_work():
    loss = DQVLoss(network(spec=OneHot(ACTIONS), noisy=True), delay_value=True)
    batch = random_batch((B,), 5)
    batch["action"] = torch.nn.functional.one_hot(batch["action"], ACTIONS)
    first, second = loss(batch)["loss"], loss(batch)["loss"]
    assert first.isfinite()
    assert first.item() != second.item()  # each call draws its own noise
    HardUpdate(loss, value_network_update_interval=1).step()


@pytest.mark.parametrize("joint", ["branching", "sum"])
def test_every_branch_of_a_joint_action_learns_the_one_state_value(joint):
    loss = DQVLoss(network(spec=MultiCategorical([2, 3])), delay_value=True, gamma=GAMMA, joint=joint)
    batch = random_batch((B,), 6).exclude("action_mask", ("next", "action_mask"))
    batch["action"] = torch.tensor([[0, 2], [1, 1], [0, 0], [1, 2]])
    action, state = streams(loss.value_network, batch["observation"])  # [D, B, A, 1], [B, 1]
    following = streams(loss.target_value_network, batch["next", "observation"])[1][:, 0]
    alive = ~batch["next", "terminated"].squeeze(-1).numpy()
    target = batch["next", "reward"].squeeze(-1).numpy() + GAMMA * np.where(alive, following, 0.0)
    chosen = np.array([[action[d, i, batch["action"][i, d], 0] for i in range(B)] for d in range(2)])
    q_loss = ((chosen - target) ** 2).mean(0) if joint == "branching" else (chosen.sum(0) - target) ** 2
    expected = (q_loss + (state[:, 0] - target) ** 2).mean()
    assert loss(batch)["loss"].item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("estimator", ["watkins", "retrace", "soft_td0", "munchausen"])
def test_estimators_that_look_at_actions_are_refused(estimator):
    with pytest.raises(ValueError, match="with this loss: DQV bootstraps on the state value, not on actions; use"):
        built().make_value_estimator(estimator)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: network(dueling=True), "dueling=false, .* this is SharedTrunk with dueling=true; set network"),
        (
            lambda: QNet(MLPTrunk((2,), num_cells=[8]), ScalarHead, action_space=Categorical(ACTIONS)),
            "dueling=false, .* this is QNet; set network=shared_trunk network.dueling=false",
        ),
    ],
)
def test_a_network_without_a_state_value_of_its_own_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        DQVLoss(make())
