"""Every head, with and without a transform of returns, under the one loss: against NumPy, and on every layout."""

import warnings

import numpy as np
import pytest
import torch
from tensordict import TensorDict

from qframe.actions import Categorical, OneHot
from qframe.functional.backup import Backup, LambdaBackup
from qframe.heads import Prediction
from qframe.networks import EnsembleQNet, MLPTrunk, SharedTrunk
from qframe.objectives import DQNLoss, DQVLoss
from tests.heads.common import HEADS
from tests.heads.head_oracle import (
    ACTIONS,
    GAMMA,
    NETWORKS,
    TRANSFORM,
    B,
    Oracle,
    T,
    batch_of,
    built,
    chosen,
    predicted,
)


@pytest.mark.parametrize("transform", TRANSFORM)
@pytest.mark.parametrize("double", [False, True])
@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("head", HEADS)
def test_one_step_equals_the_loops(head, network, double, transform):
    loss, oracle = built(head, network=network, transform=transform, double=double).double(), Oracle(head, transform)
    data = batch_of(B, dtype=torch.float64)
    noise = loss.draw_noise(torch.Size([B]))
    online, target, following = loss.value_network, loss.target_value_network, data["next", "observation"]
    now, now_taus = predicted(online, data["observation"], noise.online)
    with torch.no_grad():
        then, taus = predicted(target, following, noise.target)
        select, select_taus = predicted(online, following, noise.selector) if double else (then, taus)
    losses, errors = [], []
    for i in range(B):
        a = chosen(oracle.value(select[i], select_taus[i]), data["next", "action_mask"][i].numpy())
        location, mass = oracle.law(then[i, a], taus[i])
        alive = not data["next", "terminated"][i].item()
        location = data["next", "reward"][i].item() + (GAMMA * location if alive else 0 * location)
        one, error = oracle.loss(now[i, data["action"][i]], now_taus[i], location, mass)
        losses.append(one)
        errors.append(abs(error))
    assert loss(data, noise=noise)["loss"].item() == pytest.approx(np.mean(losses), rel=1e-6)
    np.testing.assert_allclose(data["td_error"].squeeze(-1), errors, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("transform", TRANSFORM)
@pytest.mark.parametrize("head", HEADS)
def test_a_lambda_target_is_the_mixture_over_horizons_by_loops(head, transform):
    built_head, oracle = HEADS[head](4, ACTIONS, transform=transform).double(), Oracle(head, transform)
    g = np.random.default_rng(0)
    lambda_, reward, discount = 0.7, g.normal(size=T), np.array([0.9, 0.9, 0.9])
    with torch.no_grad():
        full = built_head.prediction(torch.from_numpy(g.normal(size=(T, 4))))
    bootstrap = Prediction(full.out[:, 1], None if full.taus is None else full.taus.squeeze(-2))
    trace = torch.tensor([lambda_, lambda_, 0.0], dtype=torch.float64)
    backup = LambdaBackup(torch.from_numpy(reward), torch.from_numpy(discount), trace)
    target = built_head.lambda_target(bootstrap, backup)
    now = built_head.prediction(torch.from_numpy(g.normal(size=(T, 4))))
    taken = Prediction(now.out[:, 0], None if now.taus is None else now.taus.squeeze(-2))
    loss, error = (x.detach().numpy() for x in built_head.loss(taken, target))
    for t in range(T):
        atoms, masses, total, product, weight = [], [], 0.0, 1.0, 1.0
        for k in range(t, T):
            total += product * reward[k]
            product *= discount[k]
            share = weight if k == T - 1 else weight * (1 - lambda_)
            levels = None if full.taus is None else full.taus.squeeze(-2).expand(T, -1)[k].numpy()
            location, mass = oracle.law(bootstrap.out[k].numpy(), levels)
            atoms.append(total + product * location)
            masses.append(share * mass)
            weight -= share
        levels = None if now.taus is None else now.taus.detach().squeeze(-2).expand(T, -1)[t].numpy()
        expected = oracle.loss(now.out[t, 0].detach().numpy(), levels, np.concatenate(atoms), np.concatenate(masses))
        assert (loss[t], error[t]) == pytest.approx(expected, rel=1e-6, abs=1e-8)


@pytest.mark.parametrize("head", HEADS)
def test_one_target_serves_all_branches_of_a_prediction(head):
    torch.manual_seed(0)
    built_head = HEADS[head](4, ACTIONS)
    features = torch.randn(2, B, 4)
    with torch.no_grad():
        bootstrap = built_head.prediction(torch.randn(B, 4))
    taus = None if bootstrap.taus is None else bootstrap.taus.squeeze(-2)
    backup = Backup(torch.randn(B), torch.full((B,), 0.9))
    target = built_head.target(Prediction(bootstrap.out[:, 0], taus), backup)
    now = [built_head.prediction(x) for x in features]
    levels = None if now[0].taus is None else now[0].taus.squeeze(-2)
    together = Prediction(torch.stack([one.out[:, 1] for one in now]), levels)  # [D, B, N]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        losses, errors = built_head.loss(together, target)
    for d in range(2):
        loss, error = built_head.loss(Prediction(now[d].out[:, 1], levels), target)
        torch.testing.assert_close(losses[d], loss)
        torch.testing.assert_close(errors[d], error)


@pytest.mark.parametrize("shape", [(), (5,), (2, 3), (0,)])
@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("head", HEADS)
def test_any_batch_dimensions_work(head, network, shape):
    loss, data = built(head, network=network, double=True), batch_of(*shape)
    loss(data)["loss"].backward()
    assert data["td_error"].shape == (*shape, 1)


@pytest.mark.parametrize("transform", TRANSFORM)
@pytest.mark.parametrize("estimator", ["TD0", "TDLambda"])
@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("head", HEADS)
def test_nothing_is_left_on_the_cpu_and_every_parameter_learns(head, network, estimator, transform):
    loss = built(head, network=network, transform=transform, double=True).to("meta")
    loss.make_value_estimator(estimator)
    data = batch_of(B, T).to("meta")
    value = loss(data)["loss"]
    value.backward()
    assert value.device.type == data["td_error"].device.type == "meta"
    assert all(parameter.grad is not None for parameter in loss.value_network.parameters())


@pytest.mark.parametrize("head", HEADS)
def test_every_head_runs_in_double_precision_and_with_one_hot_actions(head):
    loss = built(head, network="shared_trunk", double=True, spec=OneHot(ACTIONS)).double()
    data, plain = batch_of(B, spec="one-hot", dtype=torch.float64), built(head, network="shared_trunk", double=True)
    value = loss(data)["loss"]
    assert value.dtype is torch.float64
    assert value.item() == pytest.approx(plain.double()(batch_of(B, dtype=torch.float64))["loss"].item())


@pytest.mark.parametrize("transform", TRANSFORM)
@pytest.mark.parametrize("head", HEADS)
def test_the_gradient_of_every_heads_loss_is_that_of_its_value(head, transform):
    g = torch.Generator().manual_seed(0)
    built_head = HEADS[head](4, ACTIONS, transform=transform).double()
    with torch.no_grad():
        full = built_head.prediction(torch.randn(B, 4, dtype=torch.float64, generator=g))
    taus = None if full.taus is None else full.taus.squeeze(-2)
    backup = Backup(torch.randn(B, dtype=torch.float64, generator=g), torch.full((B,), 0.9, dtype=torch.float64))
    target = built_head.target(Prediction(full.out[:, 0], taus), backup)
    out = torch.randn(B, full.out.shape[-1], dtype=torch.float64, generator=g, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: built_head.loss(Prediction(x, taus), target)[0], out)


@pytest.mark.parametrize("transform", ["identity", "H", ""])
def test_an_unknown_transform_is_refused(transform):
    with pytest.raises(ValueError, match=f"transform to be one of none, h, got '{transform}'"):
        HEADS["quantile"](4, 3, transform=transform)


@pytest.mark.parametrize("head", HEADS)
def test_the_policy_operator_is_greedy_for_the_whole_network(head):
    torch.manual_seed(0)
    network = SharedTrunk(
        MLPTrunk((4,), num_cells=[16]), lambda f, a: HEADS[head](f, a, transform="h"), action_space=Categorical(3)
    )
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.mul_(4.0)
        data = TensorDict({"observation": torch.randn(256, 4)}, [256])
        acting = network.get_policy_operator()(data.clone())["action"]
        assert torch.equal(acting, network(data)["action"])
    assert data["state_value"].shape == (256, network.head.num_outputs)


@pytest.mark.parametrize("estimator", ["TD0", "TDLambda"])
@pytest.mark.parametrize("head", HEADS)
def test_every_head_trains_where_the_state_value_bootstraps(head, estimator):
    torch.manual_seed(0)
    network = SharedTrunk(MLPTrunk((2,), num_cells=[8]), HEADS[head], action_space=Categorical(ACTIONS), dueling=False)
    loss = DQVLoss(network, delay_value=True, gamma=GAMMA)
    loss.make_value_estimator(estimator)
    data = batch_of(B, T)
    loss(data)["loss"].backward()
    assert data["td_error"].isfinite().all()
    assert all(parameter.grad is not None for parameter in network.parameters())


@pytest.mark.parametrize("dueling", [False, True])
@pytest.mark.parametrize("head", HEADS)
def test_every_head_trains_in_an_ensemble_with_priors_at_the_same_levels(head, dueling):
    torch.manual_seed(0)
    network = EnsembleQNet(
        MLPTrunk((2,), num_cells=[8]), HEADS[head], action_space=Categorical(3), num_members=2, prior_scale=1.0,
        dueling=dueling,
    )
    loss = DQNLoss(network, delay_value=True, double_dqn=True, gamma=GAMMA)
    data = batch_of(B)
    loss(data)["loss"].backward()
    assert data["td_error"].isfinite().all()
    trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
    assert all(parameter.grad is not None for parameter in trained)
    with torch.no_grad():
        features, whole = network.trunk(data["observation"]), network.predict(data["observation"])
        own = network.head.prediction(features)
        out = network.members.split(own.out)
        if dueling:
            state = network.members.split(network.state_head.prediction(features, own.levels).out)
            out = state + out - out.mean(-2, keepdim=True)
        prior = network.prior_head.prediction(network.prior_trunk(data["observation"]), own.levels).out
        torch.testing.assert_close(whole.out, out + network.members.split(prior))
