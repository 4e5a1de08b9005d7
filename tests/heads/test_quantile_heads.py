"""IQN and FQF: what they compute, against NumPy, and who learns from what."""

import numpy as np
import pytest
import torch

from qframe.actions import Categorical
from qframe.functional.backup import Law
from qframe.heads import FullyParameterizedQuantileHead, ImplicitQuantileHead, Prediction
from qframe.networks import MLPTrunk, SharedTrunk

FEATURES, ACTIONS, N = 7, 3, 4


def iqn(**options):
    torch.manual_seed(0)
    options = {"num_quantiles": N, "num_target_quantiles": 6, "num_fixed_quantiles": 5, "embedding_size": 8} | options
    return ImplicitQuantileHead(FEATURES, ACTIONS, **options).double()


def fqf(**options):
    torch.manual_seed(0)
    options = {"num_quantiles": N, "embedding_size": 8, "fraction_rate": 1.0} | options
    return FullyParameterizedQuantileHead(FEATURES, ACTIONS, **options).double()


def features(*batch):
    return torch.randn(*batch, FEATURES, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def quantiles_by_loops(head, x, taus):
    """``f(ψ ⊙ ReLU(Σ_i cos(π·i·τ)·w_i + b))`` of one state, ``[A, N]``."""
    w, b, f, c = (
        p.detach().numpy()
        for p in (head.embedding.weight, head.embedding.bias, head.layer.weight, head.layer.bias)
    )
    out = np.zeros((ACTIONS, len(taus)))
    for n, tau in enumerate(taus):
        cosines = np.array([np.cos(np.pi * i * tau) for i in range(w.shape[1])])
        out[:, n] = f @ (x * np.maximum(w @ cosines + b, 0)) + c
    return out


def test_quantiles_at_drawn_levels_equal_the_equation_of_the_paper():
    head, x = iqn(), features(2)
    taus = head.draw_taus(torch.Size([2]), torch.Generator().manual_seed(0)).double()
    prediction = head.prediction(x, taus)
    assert prediction.out.shape == (2, ACTIONS, N)
    assert prediction.taus.shape == (2, 1, N)
    for b in range(2):
        np.testing.assert_allclose(
            prediction.out[b].detach(), quantiles_by_loops(head, x[b].numpy(), taus[b].numpy()), rtol=1e-10
        )


def test_without_levels_it_is_asked_at_fixed_midpoints():
    head, x = iqn(), features(2)
    fixed = [0.1, 0.3, 0.5, 0.7, 0.9]
    out = head.prediction(x).out
    np.testing.assert_allclose(out[1].detach(), quantiles_by_loops(head, x[1].numpy(), fixed), rtol=1e-6)
    torch.testing.assert_close(head.value(head.prediction(x)), out.mean(-1))
    assert torch.equal(head.prediction(x).out, out)


def test_predictions_and_targets_draw_their_own_numbers_of_levels():
    head, generator = iqn(), torch.Generator().manual_seed(0)
    assert head.draw_taus(torch.Size([2, 3]), generator).shape == (2, 3, N)
    assert head.draw_taus(torch.Size([]), generator, is_target=True).shape == (6,)
    drawn = head.draw_taus(torch.Size([1000]), generator)
    assert 0 <= drawn.min() < 0.01 < 0.99 < drawn.max() < 1


def huber_by_loops(quantiles, taus, location, mass, kappa):
    total = 0.0
    for q, tau in zip(quantiles, taus, strict=True):
        for z, p in zip(location, mass, strict=True):
            u = z - q
            size = abs(u) if kappa == 0 else (0.5 * u * u if abs(u) <= kappa else kappa * (abs(u) - kappa / 2)) / kappa
            total += p * abs(tau - (u < 0)) * size
    return total


@pytest.mark.parametrize("kappa", [0.0, 0.5, 1.0])
def test_the_loss_is_the_quantile_huber_loss_at_the_levels_drawn(kappa):
    head, g = iqn(kappa=kappa), np.random.default_rng(0)
    out, taus, location = g.normal(size=(3, N)), g.random((3, N)), g.normal(size=(3, 6))
    mass = g.dirichlet(np.ones(6), 3)
    law = Law(torch.from_numpy(location), torch.from_numpy(mass))
    loss, td_error = head.loss(Prediction(torch.from_numpy(out), torch.from_numpy(taus)), law)
    expected = [huber_by_loops(out[b], taus[b], location[b], mass[b], kappa) for b in range(3)]
    np.testing.assert_allclose(loss, expected, rtol=1e-10)
    np.testing.assert_allclose(td_error, (location * mass).sum(1) - out.mean(1), rtol=1e-10)


def test_a_head_without_features_is_refused():
    with pytest.raises(ValueError, match="ImplicitQuantileHead needs features, which it joins with quantile levels"):
        ImplicitQuantileHead(None, 3)


@pytest.mark.parametrize("name", ["num_quantiles", "num_target_quantiles", "num_fixed_quantiles", "embedding_size"])
def test_numbers_below_one_are_refused(name):
    with pytest.raises(ValueError, match=f"expected {name} of at least 1, got 0"):
        ImplicitQuantileHead(4, 3, **{name: 0})


@pytest.mark.parametrize("options", [{"kappa": -1.0}, {"fraction_rate": -1.0}, {"entropy_weight": -0.1}])
def test_negative_numbers_are_refused(options):
    with pytest.raises(ValueError, match=f"expected {next(iter(options))} of at least 0, got -"):
        fqf(**options)


def fractions_by_loops(head, x):
    logits = head.fraction_rate * (head.proposal.weight.detach().numpy() @ x + head.proposal.bias.detach().numpy())
    probs = np.exp(logits) / np.exp(logits).sum()
    return np.concatenate([[0.0], np.cumsum(probs)])


@pytest.mark.parametrize("rate", [1.0, 0.05])
def test_fractions_are_proposed_and_values_stand_at_their_midpoints(rate):
    head, x = fqf(fraction_rate=rate), features(2)
    prediction = head.prediction(x)
    for b in range(2):
        tau = fractions_by_loops(head, x[b].numpy())
        np.testing.assert_allclose(prediction.taus[b, 0].detach(), tau, rtol=1e-10)
        middle = (tau[1:] + tau[:-1]) / 2
        out = quantiles_by_loops(head, x[b].numpy(), np.concatenate([middle, tau[1:-1]]))
        np.testing.assert_allclose(prediction.out[b].detach(), out, rtol=1e-9)
        value = (out[:, :N] * np.diff(tau)).sum(-1)
        np.testing.assert_allclose(head.value(prediction)[b].detach(), value, rtol=1e-10)


def test_without_gradients_the_values_at_the_fractions_are_left_out():
    head, x = fqf(), features(2)
    with torch.no_grad():
        prediction = head.prediction(x)
    assert prediction.out.shape == (2, ACTIONS, N)
    torch.testing.assert_close(head.value(prediction), head.value(head.prediction(x)).detach())


def taken(prediction, action):
    return Prediction(prediction.out[:, action], prediction.taus.squeeze(-2))


def test_quantiles_learn_by_their_loss_alone_and_fractions_by_theirs():
    head = fqf()
    x = features(2).requires_grad_()
    target = Law(torch.randn(2, 6, dtype=torch.float64), torch.full((2, 6), 1 / 6, dtype=torch.float64))
    prediction = taken(head.prediction(x), 1)
    loss, td_error = head.loss(prediction, target)
    tau = prediction.taus.detach()
    middle = (tau[:, 1:] + tau[:, :-1]) / 2
    out = prediction.out.detach().numpy()
    expected = [
        huber_by_loops(out[b, :N], middle[b].numpy(), *(part[b].numpy() for part in target), 1.0) for b in range(2)
    ]
    np.testing.assert_allclose(loss.detach(), expected, rtol=1e-10)
    mean = (out[:, :N] * np.diff(tau.numpy())).sum(1)
    np.testing.assert_allclose(td_error.detach(), target.mean.numpy() - mean, rtol=1e-10)

    by_fractions = torch.autograd.grad(loss.sum(), prediction.taus, retain_graph=True)[0].numpy()
    inner = 2 * out[:, N:] - out[:, 1:N] - out[:, : N - 1]
    np.testing.assert_allclose(by_fractions, np.pad(inner, ((0, 0), (1, 1))), rtol=1e-10)

    loss.sum().backward()
    gradients = {name: p.grad.clone() for name, p in head.named_parameters()} | {"x": x.grad.clone()}
    head.zero_grad()
    still = fqf(fraction_rate=1.0)
    x_still = features(2).requires_grad_()
    fixed = taken(still.prediction(x_still, tau), 1)
    still.loss(fixed, target)[0].sum().backward()
    for name, p in still.named_parameters():
        if not name.startswith("proposal"):
            torch.testing.assert_close(p.grad, gradients[name])
    torch.testing.assert_close(x_still.grad, gradients["x"])
    assert still.proposal.weight.grad is None
    assert gradients["proposal.weight"].abs().sum() > 0


def test_the_entropy_of_fractions_draws_them_towards_even_ones():
    losses = {}
    for weight in (0.0, 0.7):
        head = fqf(entropy_weight=weight)
        prediction = taken(head.prediction(features(2)), 0)
        loss, _ = head.loss(prediction, Law(torch.zeros(2, 1).double(), torch.ones(2, 1).double()))
        losses[weight] = loss, torch.autograd.grad(loss.sum(), prediction.taus)[0], prediction.taus.detach()
    torch.testing.assert_close(losses[0.0][0], losses[0.7][0])
    width = losses[0.7][2].diff(dim=-1)
    by_width = 0.7 * (width.log() + 1)
    expected = torch.nn.functional.pad(by_width, (1, 0)) - torch.nn.functional.pad(by_width, (0, 1))
    torch.testing.assert_close(losses[0.7][1] - losses[0.0][1], expected)


def test_fractions_that_learn_come_nearer_to_the_law_than_even_ones():
    """On a law with one far tail the learnt fractions have the smaller distance."""
    head = fqf(num_quantiles=3)
    tau_logits = torch.zeros(3, dtype=torch.float64, requires_grad=True)

    def inverse(tau):
        return tau**8

    def distance(tau):
        levels = torch.linspace(0.00005, 0.99995, 10_000, dtype=torch.float64)
        part = (torch.searchsorted(tau, levels) - 1).clamp(0, 2)
        return (inverse(levels) - inverse((tau[1:] + tau[:-1])[part] / 2)).abs().mean()

    optimizer = torch.optim.Adam([tau_logits], lr=0.05)
    start = None
    for _ in range(200):
        tau = torch.nn.functional.pad(tau_logits.softmax(-1).cumsum(-1), (1, 0))
        start = distance(tau.detach()) if start is None else start
        middle = (tau[1:] + tau[:-1]).detach() / 2
        out = torch.cat([inverse(middle), inverse(tau[1:-1].detach())])
        loss, _ = head.loss(Prediction(out, tau), Law(torch.zeros(1).double(), torch.ones(1).double()))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert distance(tau.detach()) < 0.7 * start


@pytest.mark.parametrize("kind", [ImplicitQuantileHead, FullyParameterizedQuantileHead])
def test_both_streams_of_a_dueling_network_stand_at_the_same_levels(kind):
    torch.manual_seed(0)
    trunk = MLPTrunk((4,), num_cells=[8])
    network = SharedTrunk(trunk, lambda f, a: kind(f, a, num_quantiles=5), action_space=Categorical(3))
    x = torch.randn(2, 4)
    hidden = network.trunk(x)
    taus = torch.rand(2, 5) if network.head.takes_taus else None
    advantage = network.head.prediction(hidden, taus)
    state = network.state_head.prediction(hidden, advantage.taus.squeeze(-2)).out
    expected = state + advantage.out - advantage.out.mean(-2, keepdim=True)
    prediction = network.predict(x, taus)
    torch.testing.assert_close(prediction.out, expected)
    torch.testing.assert_close(prediction.taus, advantage.taus)
    assert all(p.requires_grad for p in network.state_head.parameters())
    assert not hasattr(network.state_head, "proposal") or network.state_head.proposal is None
