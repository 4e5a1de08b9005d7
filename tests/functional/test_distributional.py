"""Projection, cross-entropy and quantile Huber, against numbers and a loop-written oracle in NumPy."""

import numpy as np
import pytest
import torch

from qframe.functional.backup import Law
from qframe.functional.distributional import categorical_cross_entropy, categorical_projection, quantile_huber
from qframe.functional.value_learning import huber


def project_by_loops(location, mass, support):
    """Bellemare et al. 2017, algorithm 1, one atom at a time."""
    step = support[1] - support[0]
    probs = np.zeros(len(support))
    for z, p in zip(location, mass, strict=True):
        b = (min(max(z, support[0]), support[-1]) - support[0]) / step
        lower, upper = int(np.floor(b)), int(np.ceil(b))
        if lower == upper:
            probs[lower] += p
        else:
            probs[lower] += p * (upper - b)
            probs[upper] += p * (b - lower)
    return probs


def test_an_atom_on_the_support_stays_and_one_between_is_shared():
    law = Law(torch.tensor([1.0, 0.5, -7.0]), torch.tensor([0.5, 0.25, 0.25]))
    assert categorical_projection(law, -1.0, 1.0, 3).tolist() == pytest.approx([0.25, 0.125, 0.625])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_projection_equals_the_loop(dtype):
    rng = np.random.default_rng(0)
    location, mass = rng.normal(0, 8, (4, 9)), rng.dirichlet(np.ones(9), 4)
    law = Law(torch.tensor(location, dtype=dtype), torch.tensor(mass, dtype=dtype))
    support = np.linspace(-10, 10, 21)
    expected = np.stack([project_by_loops(z, p, support) for z, p in zip(location, mass, strict=True)])
    probs = categorical_projection(law, -10.0, 10.0, 21)
    assert probs.dtype is dtype
    np.testing.assert_allclose(probs.numpy(), expected, atol=1e-6)


def test_the_projection_keeps_the_mean_inside_the_support():
    law = Law(torch.tensor([-0.3, 0.7]), torch.tensor([0.6, 0.4]))
    probs = categorical_projection(law, -1.0, 1.0, 11)
    assert (probs * torch.linspace(-1, 1, 11)).sum().item() == pytest.approx(0.1, abs=1e-6)


def test_cross_entropy_by_hand():
    logits = torch.log(torch.tensor([0.25, 0.75]))
    loss = categorical_cross_entropy(logits, torch.tensor([0.5, 0.5]))
    assert loss.item() == pytest.approx(-(0.5 * np.log(0.25) + 0.5 * np.log(0.75)))


def test_quantile_huber_by_hand():
    # u = 1 − 0 = 1: |.25 − 0|·½;  u = 1 − 3 = −2: |.75 − 1|·(2 − ½)
    target = Law(torch.tensor([1.0]), torch.tensor([1.0]))
    loss = quantile_huber(torch.tensor([0.0, 3.0]), torch.tensor([0.25, 0.75]), target)
    assert loss.item() == pytest.approx(0.25 * 0.5 + 0.25 * 1.5)


def test_quantile_huber_sums_over_predictions_and_averages_over_the_target():
    rng = np.random.default_rng(1)
    theta, z = rng.normal(size=3), rng.normal(size=4)
    taus, kappa = (np.arange(3) + 0.5) / 3, 0.7
    expected = 0.0
    for tau, q in zip(taus, theta, strict=True):
        for atom in z:
            u = atom - q
            size = 0.5 * u * u if abs(u) <= kappa else kappa * (abs(u) - 0.5 * kappa)
            expected += abs(tau - (u < 0)) * size / kappa / 4
    target = Law(torch.tensor(z), torch.full((4,), 0.25, dtype=torch.float64))
    assert quantile_huber(torch.tensor(theta), torch.tensor(taus), target, kappa).item() == pytest.approx(expected)


@pytest.mark.parametrize("threshold", [0.0, 0.3, 1.0, 50.0])
def test_the_gradient_of_quantile_huber_is_that_of_all_pairs(threshold):
    generator = torch.Generator().manual_seed(0)
    theta, location = (torch.randn(2, 3, 5, generator=generator, dtype=torch.float64) for _ in range(2))
    location[..., 0] = theta[..., 0]  # an error of exactly 0
    taus, mass = (torch.rand(3, 5, generator=generator, dtype=torch.float64) for _ in range(2))
    theta.requires_grad_()
    error = location.unsqueeze(-2) - theta.unsqueeze(-1)
    size = error.abs() if threshold == 0 else huber(error, threshold) / threshold
    pairs = (taus.unsqueeze(-1) - (error < 0).double()).abs() * size * mass.unsqueeze(-2)
    (expected,) = torch.autograd.grad(pairs.sum(), theta)
    loss = quantile_huber(theta, taus, Law(location, mass), threshold)
    (got,) = torch.autograd.grad(loss.sum(), theta)
    torch.testing.assert_close(loss, pairs.sum((-2, -1)))
    torch.testing.assert_close(got, expected)


@pytest.mark.parametrize("bad", [torch.nan, torch.inf, -torch.inf])
def test_quantile_huber_hides_nothing_that_is_not_finite(bad):
    target = Law(torch.tensor([[1.0, bad], [1.0, 2.0]]), torch.full((2, 2), 0.5))
    assert quantile_huber(torch.zeros(2, 3), torch.full((3,), 0.5), target).isfinite().tolist() == [False, True]


def test_without_a_threshold_the_quantile_loss_is_the_pinball():
    target = Law(torch.tensor([2.0]), torch.tensor([1.0]))
    assert quantile_huber(torch.tensor([0.0]), torch.tensor([0.9]), target, 0.0).item() == pytest.approx(1.8)


def test_huber_is_quadratic_up_to_its_threshold():
    assert huber(torch.tensor([1.0, 3.0]), 2.0).tolist() == [0.5, 4.0]


def test_the_projection_of_nan_is_nan_and_no_error():
    probs = categorical_projection(Law(torch.tensor([torch.nan]), torch.tensor([1.0])), -1.0, 1.0, 3)
    assert probs.isnan().any()
