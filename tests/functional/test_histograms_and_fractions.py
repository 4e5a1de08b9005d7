"""The target of HL-Gauss and the gradient of FQF's fractions, against NumPy."""

import math
from itertools import pairwise

import numpy as np
import pytest
import torch

from qframe.functional.distributional import entropy, fraction_loss, gaussian_histogram


def histogram(mean, sigma, v_min, v_max, num_atoms):
    """Masses by the error function of the standard library, bin by bin."""
    step = (v_max - v_min) / (num_atoms - 1)
    mean = min(max(mean, v_min), v_max)
    edges = [v_min + (i - 0.5) * step for i in range(num_atoms + 1)]
    below = [0.5 * (1 + math.erf((edge - mean) / (sigma * math.sqrt(2)))) for edge in edges]
    return [(b - a) / (below[-1] - below[0]) for a, b in pairwise(below)]


@pytest.mark.parametrize(("num_atoms", "sigma"), [(2, 0.5), (5, 0.3), (51, 3.0)])
def test_a_histogram_has_the_masses_of_a_gaussian_between_the_outer_edges(num_atoms, sigma):
    means = [-7.0, -2.0, -0.3, 0.0, 1.1, 2.0, 30.0]
    found = gaussian_histogram(torch.tensor(means, dtype=torch.float64), sigma, -2.0, 2.0, num_atoms)
    np.testing.assert_allclose(found, [histogram(m, sigma, -2.0, 2.0, num_atoms) for m in means], atol=1e-12)
    torch.testing.assert_close(found.sum(-1), torch.ones(7, dtype=torch.float64))


def test_a_histogram_far_from_the_ends_has_the_mean_it_is_made_of():
    mean = torch.linspace(-5, 5, 41, dtype=torch.float64)
    probs = gaussian_histogram(mean, 0.75 * 0.5, -10.0, 10.0, 41)
    support = torch.linspace(-10, 10, 41, dtype=torch.float64)
    torch.testing.assert_close(probs @ support, mean, atol=1e-3, rtol=0)


def test_a_narrow_gaussian_falls_into_one_bin():
    probs = gaussian_histogram(torch.tensor([0.2, -1.0, 5.0]), 1e-3, -1.0, 1.0, 3)
    assert probs.tolist() == [[0, 1, 0], [1, 0, 0], [0, 0, 1]]


def test_a_histogram_has_any_batch_dimensions_and_single_precision_stays_exact():
    mean = torch.linspace(-1, 1, 24).reshape(2, 3, 4)
    probs = gaussian_histogram(mean, 0.1, -1.0, 1.0, 11)
    assert probs.shape == (2, 3, 4, 11)
    torch.testing.assert_close(probs, gaussian_histogram(mean.double(), 0.1, -1.0, 1.0, 11).float())


def distance(tau, inverse, points=200_000):
    """The 1-Wasserstein distance between a law and its midpoint values, by integration over the levels."""
    levels = (np.arange(points) + 0.5) / points
    part = np.clip(np.searchsorted(tau, levels, side="right") - 1, 0, len(tau) - 2)
    middle = (tau[1:] + tau[:-1]) / 2
    return np.abs(inverse(levels) - inverse(middle[part])).mean()


def test_the_gradient_of_fractions_is_that_of_the_wasserstein_distance():
    def inverse(x):
        return x**2 + 3 * x

    tau = np.array([0.0, 0.15, 0.5, 0.62, 1.0])
    expected = []
    for i in range(1, 4):
        above, below = tau.copy(), tau.copy()
        above[i] += 1e-3
        below[i] -= 1e-3
        expected.append((distance(above, inverse) - distance(below, inverse)) / 2e-3)
    fractions = torch.from_numpy(tau).requires_grad_()
    edges, middles = inverse(tau[1:-1]), inverse((tau[1:] + tau[:-1]) / 2)
    fraction_loss(fractions, torch.from_numpy(edges), torch.from_numpy(middles)).backward()
    np.testing.assert_allclose(fractions.grad, [0.0, *expected, 0.0], atol=1e-3)


def test_the_loss_of_fractions_moves_no_value_and_broadcasts_over_branches():
    fractions = torch.tensor([0.0, 0.3, 1.0]).expand(4, 3).clone().requires_grad_()
    edges, quantiles = torch.randn(2, 4, 1, requires_grad=True), torch.randn(2, 4, 2, requires_grad=True)
    loss = fraction_loss(fractions, edges, quantiles)
    assert loss.shape == (2, 4)
    loss.sum().backward()
    assert edges.grad is None
    assert quantiles.grad is None
    expected = (2 * edges - quantiles[..., 1:] - quantiles[..., :-1]).sum(0)
    torch.testing.assert_close(fractions.grad[:, 1:2], expected.detach())


def test_entropy_is_that_of_probabilities():
    probs = torch.tensor([[0.25] * 4, [1.0, 0.0, 0.0, 0.0]])
    assert entropy(probs).tolist() == pytest.approx([math.log(4), 0.0])


def test_entropy_is_over_the_last_dimension_of_any_batch():
    probs = torch.tensor([[[0.5, 0.5]], [[1.0, 0.0]], [[0.25, 0.75]]])  # [3, 1, 2]
    torch.testing.assert_close(entropy(probs), torch.tensor([[0.6931472], [0.0], [0.5623351]]))
