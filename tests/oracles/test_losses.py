"""The loss of every head end to end, value, td_error and gradient, against loops and finite differences."""

import numpy as np
import pytest
import torch
from tensordict import TensorDict
from torch import nn

from qframe.actions import Categorical
from qframe.heads import CategoricalHead, QuantileHead, ScalarHead
from qframe.modules import DistributionalQValueActor, QValueActor
from qframe.networks import QNet
from qframe.networks.trunks import Trunk
from qframe.objectives import DQNLoss
from tests.oracles import agent

GAMMA, ACTIONS, ATOMS, FEATURES = 0.9, 3, 5, 2
SUPPORT = np.linspace(-2.0, 2.0, ATOMS)


class Features(Trunk):
    """The observation itself, so that the network is linear."""

    num_features = FEATURES

    def forward(self, observation):
        return observation


HEADS = {
    "l2": (agent.Head("scalar"), ScalarHead),
    "l1": (agent.Head("scalar", "l1"), lambda f, a: ScalarHead(f, a, loss_function="l1")),
    "smooth_l1": (agent.Head("scalar", "smooth_l1"), lambda f, a: ScalarHead(f, a, loss_function="smooth_l1")),
    "categorical": (
        agent.Head("categorical", support=SUPPORT),
        lambda f, a: CategoricalHead(f, a, num_atoms=ATOMS, v_min=-2.0, v_max=2.0),
    ),
    "quantile": (agent.Head("quantile"), lambda f, a: QuantileHead(f, a, num_quantiles=ATOMS)),
    "pinball": (agent.Head("quantile", kappa=0.0), lambda f, a: QuantileHead(f, a, num_quantiles=ATOMS, kappa=0.0)),
}


def built(name, double):
    """A loss over a linear network in float64, and both networks' weights for the oracle."""
    torch.manual_seed(0)
    network = QNet(Features(), HEADS[name][1], action_space=Categorical(ACTIONS)).double()
    loss = DQNLoss(network, delay_value=True, double_dqn=double, gamma=GAMMA, reduction="mean")
    with torch.no_grad():
        for parameter in loss.parameters():
            parameter.copy_(torch.randn(parameter.shape, dtype=torch.float64))
    return loss, weights_of(loss.value_network), weights_of(loss.target_value_network)


def weights_of(network):
    return tuple(x.detach().numpy().copy() for x in (network.head.layer.weight, network.head.layer.bias))


def random_batch(count, seed):
    """A batch in NumPy; a terminated step's next observation is NaN, and some states allow no action next."""
    rng = np.random.default_rng(seed)
    batch = {
        "observation": rng.normal(size=(count, FEATURES)),
        "action": rng.integers(ACTIONS, size=count),
        "next_observation": rng.normal(size=(count, FEATURES)),
        "reward": rng.normal(size=count),
        "terminated": rng.random(count) < 0.3,
        "truncated": rng.random(count) < 0.3,
        "next_mask": rng.random((count, ACTIONS)) < 0.7,
        "steps": rng.integers(1, 4, size=count),
        "weight": rng.random(count),
    }
    batch["next_observation"][batch["terminated"]] = np.nan
    return batch


def as_tensordict(batch):
    x = {name: torch.from_numpy(value) for name, value in batch.items()}
    done = x["terminated"] | x["truncated"]
    return TensorDict(
        {
            "observation": x["observation"],
            "action": x["action"],
            "steps_to_next_obs": x["steps"].unsqueeze(-1),
            "priority_weight": x["weight"].unsqueeze(-1),
            "next": {
                "observation": x["next_observation"],
                "reward": x["reward"].unsqueeze(-1),
                "terminated": x["terminated"].unsqueeze(-1),
                "done": done.unsqueeze(-1),
                "action_mask": x["next_mask"],
            },
        },
        [len(done)],
    )


@pytest.mark.parametrize("double", [False, True])
@pytest.mark.parametrize("name", HEADS)
def test_loss_and_td_error_equal_the_loops(name, double):
    loss, online, target = built(name, double)
    loss.reduction = "none"
    batch, head = random_batch(1000, 1), HEADS[name][0]
    rows = as_tensordict(batch)
    got = loss(rows)["loss"].detach().numpy()
    goals = agent.targets(head, online, target, batch, ACTIONS, GAMMA, double)
    losses, errors = agent.loss(head, online, goals, batch, ACTIONS)
    np.testing.assert_allclose(got, losses, rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(rows["td_error"].squeeze(-1), errors, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("double", [False, True])
@pytest.mark.parametrize("name", HEADS)
def test_gradients_equal_finite_differences_with_the_target_held(name, double):
    loss, online, target = built(name, double)
    batch, head = random_batch(12, 2), HEADS[name][0]
    loss(as_tensordict(batch))["loss"].backward()
    goals = agent.targets(head, online, target, batch, ACTIONS, GAMMA, double)
    layer = loss.value_network.head.layer

    def mean_loss(weight, bias):
        return agent.loss(head, (weight, bias), goals, batch, ACTIONS)[0].mean()

    slope = agent.gradient(lambda w: mean_loss(w, online[1]), online[0].copy())
    np.testing.assert_allclose(layer.weight.grad.numpy(), slope, rtol=1e-5, atol=1e-7)
    slope = agent.gradient(lambda b: mean_loss(online[0], b), online[1].copy())
    np.testing.assert_allclose(layer.bias.grad.numpy(), slope, rtol=1e-5, atol=1e-7)
    assert all(parameter.grad is None for parameter in loss.target_value_network.parameters())


@pytest.mark.parametrize("name", HEADS)
def test_the_loss_passes_gradcheck_in_double_precision(name):
    loss, *_ = built(name, True)
    batch = as_tensordict(random_batch(8, 3))
    names = [f"value_network.head.layer.{part}" for part in ("weight", "bias")]

    def value(*weights):
        return torch.func.functional_call(loss, dict(zip(names, weights, strict=True)), (batch.clone(),))["loss"]

    weights = [loss.get_parameter(key).detach().clone().requires_grad_() for key in names]
    assert torch.autograd.gradcheck(value, weights)


@pytest.mark.parametrize("name", HEADS)
def test_a_keyword_call_is_the_tensordict_call(name):
    loss, *_ = built(name, True)
    rows = as_tensordict(random_batch(50, 4))
    by_tensordict = loss(rows.clone())["loss"]
    following = {f"next_{key}": value for key, value in rows["next"].items()}
    flat = {key: value for key, value in rows.items() if key != "next"}
    assert loss(**flat, **following).item() == by_tensordict.item()


@pytest.mark.parametrize("double", [False, True])
@pytest.mark.parametrize("name", HEADS)
def test_the_order_of_transitions_changes_nothing_but_the_order(name, double):
    loss, *_ = built(name, double)
    loss.reduction = "none"
    rows = as_tensordict(random_batch(40, 5))
    order = torch.randperm(40, generator=torch.Generator().manual_seed(0))
    shuffled = rows[order]
    torch.testing.assert_close(loss(rows)["loss"][order], loss(shuffled)["loss"])
    torch.testing.assert_close(rows["td_error"][order], shuffled["td_error"])


@pytest.mark.parametrize("double", [False, True])
@pytest.mark.parametrize("distributional", [False, True])
def test_the_documented_actors_have_the_same_loss(distributional, double):
    torch.manual_seed(1)
    if distributional:
        layer = nn.Sequential(nn.Linear(FEATURES, ATOMS * ACTIONS), nn.Unflatten(-1, (ATOMS, ACTIONS)))
        actor = DistributionalQValueActor(
            layer, support=torch.from_numpy(SUPPORT), action_space="categorical", action_mask_key="action_mask"
        )
    else:
        layer = nn.Sequential(nn.Linear(FEATURES, ACTIONS))
        actor = QValueActor(layer, spec=Categorical(ACTIONS), action_mask_key="action_mask")
    loss = DQNLoss(actor.double(), delay_value=True, double_dqn=double, gamma=GAMMA)
    with torch.no_grad():
        for parameter in loss.target_value_network.parameters():
            parameter.add_(torch.randn_like(parameter))
    batch, head = random_batch(400, 6), HEADS["categorical" if distributional else "l2"][0]
    rows = as_tensordict(batch)
    rows["action_mask"] = torch.ones(400, ACTIONS, dtype=torch.bool)
    online, target = (_actor_weights(network, distributional) for network in (actor, loss.target_value_network))
    goals = agent.targets(head, online, target, batch, ACTIONS, GAMMA, double)
    losses, errors = agent.loss(head, online, goals, batch, ACTIONS)
    assert loss(rows)["loss"].item() == pytest.approx(losses.mean(), rel=1e-6)
    np.testing.assert_allclose(rows["td_error"].squeeze(-1), errors, rtol=1e-6, atol=1e-6)


def _actor_weights(actor, distributional):
    """The linear layer's weights in the oracle's order, actions before atoms."""
    weight, bias = (parameter.detach().numpy() for parameter in actor.parameters())
    if not distributional:
        return weight, bias
    order = np.arange(ATOMS * ACTIONS).reshape(ATOMS, ACTIONS).T.reshape(-1)
    return weight[order], bias[order]
