"""Every head under the one loss, against references written as loops in NumPy."""

import numpy as np
import pytest
import torch
from tensordict import TensorDict

from qframe.actions import Categorical
from qframe.heads import CategoricalHead, QuantileHead, ScalarHead
from qframe.networks import MLPTrunk, QNet, SharedTrunk
from qframe.objectives import DQNLoss

GAMMA, ACTIONS, ATOMS, B, T = 0.9, 3, 5, 4, 6
V_MIN, V_MAX = -2.0, 2.0
SUPPORT = np.linspace(V_MIN, V_MAX, ATOMS)
HEADS = {
    "scalar": ScalarHead,
    "categorical": lambda features, actions: CategoricalHead(
        features, actions, num_atoms=ATOMS, v_min=V_MIN, v_max=V_MAX
    ),
    "quantile": lambda features, actions: QuantileHead(features, actions, num_quantiles=ATOMS),
}
NETWORKS = {"q_net": QNet, "shared_trunk": SharedTrunk}


def softmax(x):
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def law_of(head, out):
    """Atoms and masses of one action's outputs."""
    if head == "categorical":
        return SUPPORT, softmax(out)
    return out, np.full(len(out), 1 / len(out))


def mean_of(head, out):
    location, mass = law_of(head, out)
    return (location * mass).sum()


def head_loss(head, out, location, mass):
    """The loss of one prediction and a weighted set of target atoms."""
    if head == "scalar":
        return ((location * mass).sum() - out[0]) ** 2
    total = 0.0
    if head == "categorical":
        step, log_probs = SUPPORT[1] - SUPPORT[0], np.log(softmax(out))
        for z, p in zip(location, mass, strict=True):
            b = (min(max(z, V_MIN), V_MAX) - V_MIN) / step
            lower = min(int(np.floor(b)), ATOMS - 2)
            total -= p * ((lower + 1 - b) * log_probs[lower] + (b - lower) * log_probs[lower + 1])
        return total
    for i, q in enumerate(out):
        for z, p in zip(location, mass, strict=True):
            u = z - q
            size = 0.5 * u * u if abs(u) <= 1 else abs(u) - 0.5
            total += p * abs((i + 0.5) / len(out) - (u < 0)) * size
    return total


def outputs(network, observation):
    with torch.no_grad():
        return network.predict(observation).out.double().numpy()


def random_batch(shape, seed):
    g = torch.Generator().manual_seed(seed)
    done = torch.rand(*shape, 1, generator=g) < 0.3
    truncated = done & (torch.rand(*shape, 1, generator=g) < 0.5)
    return TensorDict(
        {
            "observation": torch.randn(*shape, 2, generator=g),
            "action": torch.randint(ACTIONS, shape, generator=g),
            "action_mask": torch.ones(*shape, ACTIONS, dtype=torch.bool),
            "next": {
                "observation": torch.randn(*shape, 2, generator=g),
                "reward": torch.randn(*shape, 1, generator=g),
                "terminated": done & ~truncated,
                "truncated": truncated,
                "done": done,
                "action_mask": torch.rand(*shape, ACTIONS, generator=g) < 0.7,
            },
        },
        shape,
    )


def built(head, network, double, seed=0):
    torch.manual_seed(seed)
    loss = DQNLoss(
        NETWORKS[network](MLPTrunk((2,), num_cells=[8]), HEADS[head], action_space=Categorical(ACTIONS)),
        delay_value=True,
        double_dqn=double,
        gamma=GAMMA,
    )
    with torch.no_grad():
        for parameter in loss.target_value_network.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return loss


def select(values, mask):
    legal = np.where(mask, values, -np.inf)
    return 0 if not mask.any() else int(legal.argmax())


@pytest.mark.parametrize("double", [False, True])
@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("head", HEADS)
def test_one_step_equals_the_loops(head, network, double):
    loss, batch = built(head, network, double), random_batch((B,), 1)
    online, target = loss.value_network, loss.target_value_network
    now, then, then_online = (
        outputs(online, batch["observation"]),
        outputs(target, batch["next", "observation"]),
        outputs(online, batch["next", "observation"]),
    )
    expected, errors = [], []
    for i in range(B):
        chooser = then_online if double else then
        values = np.array([mean_of(head, chooser[i, a]) for a in range(ACTIONS)])
        a = select(values, batch["next", "action_mask"][i].numpy())
        location, mass = law_of(head, then[i, a])
        r = batch["next", "reward"][i].item()
        alive = not batch["next", "terminated"][i].item()
        location = r + GAMMA * location if alive else np.full(len(location), r)
        mass = mass if alive else np.full(len(mass), 1 / len(mass))
        out = now[i, batch["action"][i]]
        expected.append(head_loss(head, out, location, mass))
        clipped = np.clip(location, V_MIN, V_MAX) if head == "categorical" else location
        errors.append(abs((clipped * mass).sum() - mean_of(head, out)))
    assert loss(batch)["loss"].item() == pytest.approx(np.mean(expected), rel=1e-5)
    np.testing.assert_allclose(batch["td_error"].squeeze(-1), errors, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("head", HEADS)
def test_td_lambda_equals_the_mixture_over_horizons_by_loops(head):
    lambda_ = 0.7
    loss, batch = built(head, "q_net", False), random_batch((B, T), 2)
    loss.make_value_estimator("TDLambda", lambda_=lambda_)
    now = outputs(loss.value_network, batch["observation"])
    then = outputs(loss.target_value_network, batch["next", "observation"])
    expected = []
    for b in range(B):
        for t in range(T):
            atoms, masses, reward, discount, weight = [], [], 0.0, 1.0, 1.0
            for k in range(t, T):
                reward += discount * batch["next", "reward"][b, k].item()
                terminated, done = (batch["next", name][b, k].item() for name in ("terminated", "done"))
                discount = 0.0 if terminated else discount * GAMMA
                share = weight if done or k == T - 1 else weight * (1 - lambda_)
                values = np.array([mean_of(head, then[b, k, a]) for a in range(ACTIONS)])
                a = select(values, batch["next", "action_mask"][b, k].numpy())
                location, mass = law_of(head, then[b, k, a])
                mass = np.full(len(mass), 1 / len(mass)) if terminated else mass
                atoms.append(reward + discount * location)
                masses.append(share * mass)
                weight -= share
                if done:
                    break
            out = now[b, t, batch["action"][b, t]]
            expected.append(head_loss(head, out, np.concatenate(atoms), np.concatenate(masses)))
    assert loss(batch)["loss"].item() == pytest.approx(np.mean(expected), rel=1e-5)


@pytest.mark.parametrize("head", HEADS)
def test_td1_is_td_lambda_with_lambda_one(head):
    losses = []
    for name, hyperparams in (("TD1", {}), ("TDLambda", {"lambda_": 1.0})):
        loss = built(head, "shared_trunk", True)
        loss.make_value_estimator(name, **hyperparams)
        losses.append(loss(random_batch((B, T), 3))["loss"].item())
    assert losses[0] == losses[1]


@pytest.mark.parametrize("shape", [(), (5,), (2, 3), (0,)])
@pytest.mark.parametrize("head", HEADS)
def test_any_batch_dimensions_work(head, shape):
    loss, batch = built(head, "q_net", True), random_batch(shape, 4)
    loss(batch)
    assert batch["td_error"].shape == (*shape, 1)


@pytest.mark.parametrize("head", HEADS)
def test_every_head_runs_in_double_precision(head):
    loss, batch = built(head, "shared_trunk", True).double(), random_batch((B,), 5)
    batch = batch.apply(lambda x: x.double() if x.is_floating_point() else x)
    assert loss(batch)["loss"].dtype is torch.float64


@pytest.mark.parametrize("estimator", ["TD0", "TDLambda"])
@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("head", HEADS)
def test_nothing_is_left_on_the_cpu(head, network, estimator):
    loss = built(head, network, True).to("meta")
    loss.make_value_estimator(estimator)
    batch = random_batch((B, T), 6).to("meta")
    value = loss(batch)["loss"]
    value.backward()
    assert value.device.type == batch["td_error"].device.type == "meta"
