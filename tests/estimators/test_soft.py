"""Soft targets and Munchausen against loops in NumPy, at the edges of floating point, and on laws."""

import numpy as np
import pytest
import torch

from qframe.estimators import TD0, Batch, Munchausen, SoftTD0, Values
from qframe.functional.action import soft
from qframe.functional.backup import Law, apply
from tests.estimators.estimating import ACTIONS, numpy_of, random_slices, scalar_target, softmax


def loops(batch, values, *, alpha, temperature, lowest):
    action, reward, discount, _, mask, next_mask, _, _, target, now = numpy_of(batch, values)
    expected = reward.copy()
    for i in np.ndindex(reward.shape):
        _, log_prob = softmax(now[i], temperature, mask[i])
        expected[i] += alpha * np.clip(temperature * log_prob[action[i]], lowest, 0.0)
        if discount[i] == 0:
            continue
        prob, log_prob = softmax(target[i], temperature, next_mask[i])
        for a in range(ACTIONS):
            if prob[a] > 0:
                expected[i] += discount[i] * prob[a] * (target[i][a] - temperature * log_prob[a])
    return expected


@pytest.mark.parametrize("shape", [(40,), (5, 8)])
@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("temperature", [0.03, 0.5, 10.0])
@pytest.mark.parametrize("alpha", [0.0, 0.9])
def test_random_transitions_equal_the_loops(alpha, temperature, seed, shape):
    batch, values = random_slices(shape, seed)
    values = values._replace(selector=values.target)
    estimator = Munchausen(alpha=alpha, temperature=temperature, clip_value_min=-1.0)
    expected = loops(batch, values, alpha=alpha, temperature=temperature, lowest=-1.0)
    np.testing.assert_allclose(scalar_target(estimator, batch, values), expected, rtol=1e-12, atol=1e-12)
    if alpha == 0.0:
        plain = scalar_target(SoftTD0(temperature=temperature), batch, values)
        np.testing.assert_allclose(plain, expected, rtol=1e-12, atol=1e-12)


def test_munchausen_by_hand():
    # q = (0, 0) now and next, τ = 1: log π = −log 2 is above l₀; the soft value is log 2
    nought = torch.zeros(1, 2)
    batch = Batch(
        observation=torch.zeros(1), action=torch.tensor([0]), reward=torch.tensor([1.0]), discount=torch.tensor([0.5]),
        next_observation=torch.zeros(1), done=torch.tensor([False]),
    )  # fmt: skip
    target = scalar_target(Munchausen(alpha=0.9, temperature=1.0), batch, Values(nought, nought, nought))
    assert target.item() == pytest.approx(1 - 0.9 * np.log(2) + 0.5 * np.log(2))
    clipped = Munchausen(alpha=0.9, temperature=1.0, clip_value_min=-0.5)
    assert scalar_target(clipped, batch, Values(nought, nought, nought)).item() == pytest.approx(
        1 - 0.9 * 0.5 + 0.5 * np.log(2)
    )


def test_a_low_temperature_gives_the_greedy_target():
    batch, values = random_slices((50,), 1)
    values = values._replace(selector=values.target)
    soft_target = scalar_target(SoftTD0(temperature=1e-30), batch, values)
    np.testing.assert_allclose(soft_target, scalar_target(TD0(), batch, values), atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("temperature", [1e-38, 1e-8, 0.03, 1e8])
def test_log_probabilities_and_gradients_are_finite_at_any_temperature(temperature, dtype):
    value = torch.tensor([[0.0, 1e4, -1e4], [5.0, 5.0, 5.0], [1.0, 2.0, 3.0]], dtype=dtype, requires_grad=True)
    mask = torch.tensor([[True, True, True], [True, False, True], [False, False, False]])
    policy = soft(value, temperature, mask)
    assert policy.log_prob.isfinite().all()
    assert policy.prob.sum(-1).tolist() == [1.0, 1.0, 0.0]
    (temperature * policy.log_prob * policy.prob).sum().backward()
    assert value.grad.isfinite().all()


def test_the_temperature_times_the_log_probability_is_exact_where_the_probability_vanishes():
    policy = soft(torch.tensor([0.0, 7.0]), 1e-3)
    assert policy.prob.tolist() == [0.0, 1.0]
    assert (1e-3 * policy.log_prob).tolist() == pytest.approx([-7.0, 0.0])


def test_an_illegal_action_is_ignored():
    batch, values = random_slices((30,), 2)
    _, backup = SoftTD0(temperature=0.5)(batch, values._replace(selector=values.target))
    location = torch.where(batch.next_mask, values.target, torch.inf).unsqueeze(-1)
    law = apply(backup, Law(location, torch.ones_like(location)))
    expected = scalar_target(SoftTD0(temperature=0.5), batch, values._replace(selector=values.target))
    assert law.mass.sum(-1).numpy() == pytest.approx(np.ones(30))
    np.testing.assert_allclose(law.mean.numpy(), expected, rtol=1e-12)


def test_a_terminal_state_without_a_legal_action_gives_a_point_mass_at_the_reward():
    batch, values = random_slices((40,), 3)
    over = batch.discount == 0
    assert over.any()
    _, backup = SoftTD0()(batch, values._replace(selector=values.target))
    law = apply(backup, Law(values.target.unsqueeze(-1).expand(40, 3, 4), torch.full((40, 3, 4), 0.25).double()))
    assert (law.location[over] == batch.reward[over].unsqueeze(-1)).all()
    torch.testing.assert_close(law.mass[over], torch.full((int(over.sum()), 12), 1 / 12).double())


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: SoftTD0(temperature=0.0), "expected temperature above 0, got 0.0; use TD0 for the greedy target"),
        (lambda: Munchausen(temperature=-1.0), "expected temperature above 0, got -1.0"),
        (lambda: Munchausen(alpha=1.5), "expected alpha between 0 and 1, got 1.5"),
        (lambda: Munchausen(clip_value_min=1.0), "expected clip_value_min of at most 0, got 1.0"),
    ],
)
def test_arguments_out_of_range_raise(make, message):
    with pytest.raises(ValueError, match=message):
        make()
