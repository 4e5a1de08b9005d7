"""Projection, cross-entropy and quantile losses on random laws, against the triangular kernel and the loops."""

import numpy as np
import pytest
import torch

from qframe.functional.backup import Law
from qframe.functional.distributional import categorical_cross_entropy, categorical_projection, quantile_huber
from qframe.functional.value_learning import huber
from tests.oracles import laws

CASES = 10_000
ACCURACY = {torch.float64: 1e-12, torch.float32: 2e-5, torch.float16: 4e-2, torch.bfloat16: 2e-1}


def random_law(count, atoms, rng):
    """Atoms that lie outside the support, on it, between, and together; some masses are 0."""
    location = rng.normal(0, 6, (count, atoms))
    location[rng.random((count, atoms)) < 0.3] = rng.integers(-12, 13)
    on_support = rng.random((count, atoms)) < 0.2
    location[on_support] = rng.integers(-10, 11, on_support.sum())
    far = rng.random((count, atoms)) < 0.03
    location[far] = rng.choice([-1e6, 1e6], far.sum())
    mass = rng.dirichlet(np.ones(atoms), count)
    mass[rng.random((count, atoms)) < 0.1] = 0
    return location, mass


@pytest.mark.parametrize(("v_min", "v_max", "num_atoms"), [(-10.0, 10.0, 51), (-10.0, 10.0, 2), (-3.7, 5.9, 13)])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
def test_the_projection_equals_the_triangular_kernel(dtype, v_min, v_max, num_atoms):
    rng = np.random.default_rng(num_atoms)
    location, mass = random_law(CASES // 5, 6, rng)
    support = np.linspace(v_min, v_max, num_atoms)
    expected = np.array([laws.project(z, p, support) for z, p in zip(location, mass, strict=True)])
    law = Law(torch.from_numpy(location).to(dtype), torch.from_numpy(mass).to(dtype))
    got = categorical_projection(law, v_min, v_max, num_atoms)
    assert got.dtype is dtype
    np.testing.assert_allclose(got.double().numpy(), expected, atol=ACCURACY[dtype])
    np.testing.assert_allclose(got.sum(-1).double().numpy(), mass.sum(-1), atol=ACCURACY[dtype])
    clipped = (np.clip(location, v_min, v_max) * mass).sum(-1)
    np.testing.assert_allclose(got.double().numpy() @ support, clipped, atol=50 * ACCURACY[dtype])


@pytest.mark.parametrize("location", [torch.inf, -torch.inf, 1e30, -1e30])
def test_an_infinite_atom_goes_to_an_end_of_the_support(location):
    law = Law(torch.tensor([location]), torch.tensor([1.0]))
    expected = [0.0, 0.0, 1.0] if location > 0 else [1.0, 0.0, 0.0]
    assert categorical_projection(law, -1.0, 1.0, 3).tolist() == expected


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_half_precision_projects_near_the_oracle_and_loses_no_mass(dtype):
    rng = np.random.default_rng(0)
    location, mass = rng.uniform(-12, 12, (500, 4)), rng.dirichlet(np.ones(4), 500)
    law = Law(torch.from_numpy(location).to(dtype), torch.from_numpy(mass).to(dtype))
    rounded = law.location.double().numpy(), law.mass.double().numpy()
    expected = np.array([laws.project(z, p, np.linspace(-10, 10, 21)) for z, p in zip(*rounded, strict=True)])
    got = categorical_projection(law, -10.0, 10.0, 21)
    assert got.dtype is dtype
    np.testing.assert_allclose(got.double().numpy(), expected, atol=ACCURACY[dtype])


def test_any_batch_dimensions_project_alike():
    rng = np.random.default_rng(1)
    location, mass = random_law(24, 5, rng)
    flat = categorical_projection(Law(torch.from_numpy(location), torch.from_numpy(mass)), -10.0, 10.0, 21)
    deep = Law(torch.from_numpy(location).view(2, 3, 4, 5), torch.from_numpy(mass).view(2, 3, 4, 5))
    assert torch.equal(categorical_projection(deep, -10.0, 10.0, 21).view(24, 21), flat)


def test_cross_entropy_equals_the_loop():
    rng = np.random.default_rng(2)
    logits, probs = rng.normal(0, 5, (CASES, 7)), rng.dirichlet(np.ones(7), CASES)
    expected = [laws.cross_entropy(x, p) for x, p in zip(logits, probs, strict=True)]
    got = categorical_cross_entropy(torch.from_numpy(logits), torch.from_numpy(probs))
    np.testing.assert_allclose(got.numpy(), expected, rtol=1e-12)


@pytest.mark.parametrize("threshold", [0.0, 0.3, 1.0, 4.0])
def test_the_quantile_huber_loss_equals_the_loop_over_all_pairs(threshold):
    rng = np.random.default_rng(3)
    count = CASES // 4
    quantiles, taus = rng.normal(0, 2, (count, 4)), rng.random((count, 4))
    location, mass = rng.normal(0, 2, (count, 3)), rng.dirichlet(np.ones(3), count)
    location[rng.random((count, 3)) < 0.1] = quantiles[0, 0]
    quantiles[rng.random((count, 4)) < 0.1] = quantiles[0, 0]  # errors of exactly 0
    expected = [
        laws.quantile_huber(*row, threshold) for row in zip(quantiles, taus, location, mass, strict=True)
    ]
    law = Law(torch.from_numpy(location), torch.from_numpy(mass))
    got = quantile_huber(torch.from_numpy(quantiles), torch.from_numpy(taus), law, threshold)
    np.testing.assert_allclose(got.numpy(), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("threshold", [0.5, 1.0, 3.0])
def test_huber_equals_the_two_cases(threshold):
    error = np.concatenate([np.random.default_rng(4).normal(0, 3, CASES), [threshold, -threshold, 0.0]])
    expected = [laws.huber(e, threshold) for e in error]
    np.testing.assert_allclose(huber(torch.from_numpy(error), threshold).numpy(), expected, rtol=1e-12)
