"""Estimators along time against loops in NumPy, and against each other."""

import numpy as np
import pytest
import torch

from qframe.estimators import TD1, Batch, Retrace, TDLambda, Values, WatkinsQLambda
from tests.estimators.estimating import ACTIONS, numpy_of, random_slices, scalar_target, softmax

LAMBDA = 0.8


def by_hand(*, action, value, reward=(1.0, 2.0), mu=(1.0, 1.0), done=(False, False)):
    """Two steps; ``value`` are those of the states after each, γ is ½."""
    done = torch.tensor([done])
    batch = Batch(
        observation=torch.zeros(1, 2), action=torch.tensor([action]), reward=torch.tensor([reward]),
        discount=torch.full((1, 2), 0.5), next_observation=torch.zeros(1, 2), done=done,
        action_probability=torch.tensor([mu]),
    )  # fmt: skip
    value = torch.tensor([value])
    return batch, Values(value, value)


def test_watkins_continues_after_a_greedy_action_and_stops_at_another():
    value = [[1.0, 4.0, 0.0], [6.0, 0.0, 0.0]]
    last = 2 + 0.5 * 6
    greedy, other = (scalar_target(WatkinsQLambda(lambda_=0.8), *by_hand(action=[0, a], value=value)) for a in (1, 0))
    assert greedy.tolist() == [[pytest.approx(1 + 0.5 * (4 + 0.8 * (last - 4))), last]]
    assert other.tolist() == [[1 + 0.5 * 4, last]]


def test_every_one_of_several_best_actions_is_greedy():
    value = [[4.0, 4.0, 0.0], [6.0, 0.0, 0.0]]
    first, second = (scalar_target(WatkinsQLambda(lambda_=0.8), *by_hand(action=[0, a], value=value)) for a in (0, 1))
    assert first.tolist() == second.tolist() == [[pytest.approx(1 + 0.5 * (4 + 0.8 * (5 - 4))), 5.0]]


def test_soft_retrace_by_hand():
    # π over (0, log 3, −9): nearly (¼, ¾, 0). Action 0 was taken with μ = ½: c = λ · (¼ / ½) = .4
    value = [[0.0, float(np.log(3)), -1e9], [2.0, 2.0, -1e9]]
    target = scalar_target(Retrace(lambda_=0.8, temperature=1.0), *by_hand(action=[0, 0], value=value, mu=(1.0, 0.5)))
    v, last = 0.75 * np.log(3), 2 + 0.5 * 2
    np.testing.assert_allclose(target, [[1 + 0.5 * (v + 0.4 * (last - 0.0)), last]], rtol=1e-6)


def loops(kind, batch, values, temperature):
    """``G_t = r_t + γ_t · [v + c · (G − b)]`` with each part as its paper writes it."""
    action, reward, discount, done, _, next_mask, mu, selector, target, _ = numpy_of(batch, values)
    returns = np.zeros_like(reward)
    for b in range(reward.shape[0]):
        for t in reversed(range(reward.shape[1])):
            if discount[b, t] == 0:
                returns[b, t] = reward[b, t]
                continue
            legal, q, chooser = next_mask[b, t], target[b, t], selector[b, t]
            best = chooser[legal].max()
            v = q[next(a for a in range(ACTIONS) if legal[a] and chooser[a] == best)]
            prob, _ = softmax(chooser, temperature, legal)
            if kind == "soft_retrace":
                v = sum(prob[a] * q[a] for a in range(ACTIONS) if legal[a])
            following = v
            if t + 1 < reward.shape[1] and not done[b, t]:
                a = action[b, t + 1]
                is_greedy = float(chooser[a] == best)
                c = {
                    "td_lambda": 1.0,
                    "watkins": is_greedy,
                    "retrace": min(1.0, is_greedy / mu[b, t + 1]),
                    "soft_retrace": min(1.0, prob[a] / mu[b, t + 1]),
                }[kind]
                baseline = q[a] if kind == "soft_retrace" else v
                following = v + LAMBDA * c * (returns[b, t + 1] - baseline)
            returns[b, t] = reward[b, t] + discount[b, t] * following
    return returns


@pytest.mark.parametrize("ties", [True, False])
@pytest.mark.parametrize("masks", [True, False])
@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(
    ("kind", "estimator"),
    [
        ("td_lambda", TDLambda(lambda_=LAMBDA)),
        ("watkins", WatkinsQLambda(lambda_=LAMBDA)),
        ("retrace", Retrace(lambda_=LAMBDA)),
        ("soft_retrace", Retrace(lambda_=LAMBDA, temperature=0.7)),
    ],
)
def test_random_slices_equal_the_loops(kind, estimator, seed, masks, ties):
    batch, values = random_slices((20, 6), seed, masks=masks, ties=ties)
    np.testing.assert_allclose(
        scalar_target(estimator, batch, values), loops(kind, batch, values, 0.7), rtol=1e-12, atol=1e-12
    )


def test_retrace_with_a_greedy_policy_equals_watkins_exactly():
    for seed in range(20):
        batch, values = random_slices((50, 5), seed)
        (one, first), (two, second) = (kind(lambda_=0.9)(batch, values) for kind in (Retrace, WatkinsQLambda))
        assert torch.equal(one, two)
        assert torch.equal(first.trace, second.trace)
        assert first.weight is second.weight is None


def test_retrace_at_a_low_temperature_nears_watkins():
    batch, values = random_slices((50, 5), 3, ties=False)
    soft, greedy = Retrace(lambda_=0.9, temperature=1e-6), WatkinsQLambda(lambda_=0.9)
    batch, values = batch, values._replace(selector=values.target)
    np.testing.assert_allclose(scalar_target(soft, batch, values), scalar_target(greedy, batch, values), atol=1e-9)


def test_lambda_zero_is_one_step_with_any_trace():
    batch, values = random_slices((20, 6), 4)
    expected = scalar_target(TDLambda(lambda_=0.0), batch, values)
    np.testing.assert_array_equal(scalar_target(WatkinsQLambda(lambda_=0.0), batch, values), expected)
    np.testing.assert_array_equal(scalar_target(Retrace(lambda_=0.0), batch, values), expected)


def test_without_off_policy_actions_watkins_is_td1_at_lambda_one():
    batch, values = random_slices((20, 6), 5)
    greedy = torch.where(batch.next_mask, values.selector, -torch.inf).argmax(-1)
    batch = batch._replace(action=torch.cat([batch.action[:, :1], greedy[:, :-1]], -1))
    expected = scalar_target(TD1(), batch, values)
    np.testing.assert_array_equal(scalar_target(WatkinsQLambda(lambda_=1.0), batch, values), expected)


@pytest.mark.parametrize(
    "estimator", [TDLambda(), WatkinsQLambda(), Retrace(), Retrace(temperature=0.5)], ids=lambda e: type(e).__name__
)
def test_nothing_of_another_episode_reaches_a_target(estimator):
    batch, values = random_slices((30, 6), 6)
    changed = torch.zeros_like(batch.done)
    changed[:, 1:] = batch.done[:, :-1]  # every first step of an episode within a slice
    other = batch._replace(
        reward=torch.where(changed, 1e6, batch.reward),
        action=torch.where(changed, (batch.action + 1) % ACTIONS, batch.action),
        action_probability=torch.where(changed, torch.nan, batch.action_probability),
    )
    before, after = scalar_target(estimator, batch, values), scalar_target(estimator, other, values)
    np.testing.assert_array_equal(before[~changed.numpy()], after[~changed.numpy()])


def test_a_stored_probability_of_zero_does_no_harm():
    batch, values = random_slices((30, 6), 7)
    batch = batch._replace(action_probability=torch.zeros_like(batch.reward))
    assert np.isfinite(scalar_target(Retrace(temperature=0.5), batch, values)).all()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: WatkinsQLambda(lambda_=1.1), "expected lambda_ between 0 and 1, got 1.1"),
        (lambda: Retrace(lambda_=-0.1), "expected lambda_ between 0 and 1, got -0.1"),
        (lambda: Retrace(temperature=0.0), "expected temperature above 0, or null for the greedy policy, got 0.0"),
    ],
)
def test_arguments_out_of_range_raise(make, message):
    with pytest.raises(ValueError, match=message):
        make()
