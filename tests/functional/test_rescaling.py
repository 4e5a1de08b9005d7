"""The h-transform: literal numbers, and its inverse."""

import numpy as np
import pytest
import torch

from qframe.functional.rescaling import TRANSFORMS, h, h_inverse


@pytest.mark.parametrize(
    ("value", "expected"), [(0.0, 0.0), (3.0, 1.03), (-3.0, -1.03), (8.0, 2.08), (99.0, 9.99), (-399.0, -22.99)]
)
def test_h_is_a_root_with_a_linear_part(value, expected):
    assert h(torch.tensor(value, dtype=torch.float64), epsilon=0.01).item() == pytest.approx(expected, abs=2e-6)


def test_h_equals_the_formula_of_the_paper():
    x = np.linspace(-50, 50, 1001)
    formula = np.sign(x) * (np.sqrt(np.abs(x) + 1) - 1) + 1e-3 * x
    np.testing.assert_allclose(h(torch.from_numpy(x)).numpy(), formula, atol=1e-12)


def test_the_inverse_equals_the_formula_of_the_paper():
    x, eps = np.linspace(-50, 50, 1001), 1e-2
    root = (np.sqrt(1 + 4 * eps * (np.abs(x) + 1 + eps)) - 1) / (2 * eps)
    np.testing.assert_allclose(h_inverse(torch.from_numpy(x), eps).numpy(), np.sign(x) * (root**2 - 1), rtol=1e-9)


@pytest.mark.parametrize("epsilon", [1e-3, 1e-2, 1.0])
def test_the_inverse_undoes_h_over_a_million_both_ways(epsilon):
    x = torch.cat([torch.linspace(-1e6, 1e6, 20_001, dtype=torch.float64), torch.logspace(-9, 6, 500).double()])
    assert (h_inverse(h(x, epsilon), epsilon) - x).abs().max() < 1e-6
    assert (h(h_inverse(x, epsilon), epsilon) - x).abs().max() < 1e-6


def test_near_zero_nothing_is_lost_in_single_precision():
    x = torch.tensor([1e-6, -1e-4, 1e-3])
    torch.testing.assert_close(h_inverse(h(x)), x, rtol=1e-5, atol=0.0)


def test_h_and_its_inverse_are_smooth_at_zero():
    x = torch.zeros((), dtype=torch.float64, requires_grad=True)
    assert torch.autograd.grad(h(x), x)[0].item() == pytest.approx(0.5 + 1e-3)
    assert torch.autograd.grad(h_inverse(x), x)[0].item() == pytest.approx(1 / (0.5 + 1e-3))
    points = torch.tensor([-40.0, -1e-3, 0.0, 2.0, 900.0], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(h, points)
    assert torch.autograd.gradcheck(h_inverse, points)


def test_transforms_are_known_by_name():
    assert TRANSFORMS["none"] is None
    assert TRANSFORMS["h"] == (h, h_inverse)
