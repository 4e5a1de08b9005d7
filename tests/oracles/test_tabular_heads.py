"""The heads that come later, noisy layers and transformed returns, on the MDP whose Q* is known."""

import numpy as np
import pytest

from qframe.heads import FullyParameterizedQuantileHead, HLGaussHead, ImplicitQuantileHead
from qframe.networks import QNet, SharedTrunk
from tests.oracles.test_tabular import HEADS, any_slices, error, learned, problem, transitions

IMPLICIT = {"embedding_size": 16, "kappa": 0.02}
LATER = {
    "hl_gauss": lambda f, a, **o: HLGaussHead(f, a, num_atoms=41, v_min=-6.0, v_max=6.0, **o),
    "implicit_quantile": lambda f, a: ImplicitQuantileHead(
        f, a, num_quantiles=32, num_target_quantiles=32, **IMPLICIT
    ),
    "fully_parameterized_quantile": lambda f, a: FullyParameterizedQuantileHead(f, a, num_quantiles=32, **IMPLICIT),
}
MULTIPLYING = {"rows": 16, "lr": 0.04, "updates": 500}  # features times an embedding of levels learn more slowly
TRAINING = {"hl_gauss": {}, "implicit_quantile": MULTIPLYING, "fully_parameterized_quantile": MULTIPLYING}
TOLERANCE = {"hl_gauss": 0.02, "implicit_quantile": 0.06, "fully_parameterized_quantile": 0.08}


@pytest.mark.parametrize(("network", "double"), [(QNet, False), (SharedTrunk, True)])
@pytest.mark.parametrize("head", LATER)
def test_one_step_targets_reach_the_optimal_values(head, network, double):
    values = learned(LATER[head], transitions(), double=double, network=network, **TRAINING[head])
    assert error(values) < TOLERANCE[head]


@pytest.mark.parametrize(
    ("head", "estimator", "updates"),
    [
        ("hl_gauss", "Retrace", 300),
        ("implicit_quantile", "WatkinsQLambda", 150),
        ("fully_parameterized_quantile", "Retrace", 150),
    ],
)
def test_returns_along_any_paths_reach_the_optimal_values_where_traces_are_cut(head, estimator, updates):
    options = {"lambda_": 0.9, **TRAINING[head], "updates": updates}
    values = learned(LATER[head], any_slices(), estimator=estimator, **options)
    assert error(values) < TOLERANCE[head]


@pytest.mark.parametrize("head", HEADS)
def test_the_means_of_noisy_layers_reach_the_optimal_values(head):
    assert error(learned(HEADS[head], transitions(), noisy=True, updates=400)) < 0.02


def h(x):
    return np.sign(x) * (np.sqrt(np.abs(x) + 1) - 1) + 1e-3 * x


def h_inverse(x):
    """By bisection: h rises."""
    low, high = np.full_like(x, -1e3), np.full_like(x, 1e3)
    for _ in range(100):
        middle = (low + high) / 2
        low, high = np.where(h(middle) < x, middle, low), np.where(h(middle) < x, high, middle)
    return middle


def transformed_optimum():
    """``q = h⁻¹(E h(r + γ max q))``, Pohlen et al., 2018, equation 2, iterated from 0."""
    mdp, q = problem()[0], 0.0 * problem()[1]
    for _ in range(200):
        v = np.where(mdp.legal, q, -np.inf).max(1)
        outcomes = mdp.reward + mdp.gamma * np.where(mdp.terminated, 0.0, v[mdp.following])
        q = h_inverse(h(outcomes).mean(-1))
    return q


@pytest.mark.parametrize("head", [HEADS["scalar"], LATER["hl_gauss"]], ids=["scalar", "hl_gauss"])
def test_transformed_means_reach_the_fixed_point_of_their_operator(head):
    values = learned(lambda f, a: head(f, a, transform="h"), transitions(), updates=400)
    goal = transformed_optimum()
    assert error(values, goal) < 0.01 < 0.1 < error(goal)


@pytest.mark.parametrize("head", ["categorical", "quantile"])
def test_transformed_laws_reach_the_optimal_values(head):
    assert error(learned(lambda f, a: HEADS[head](f, a, transform="h"), transitions(), updates=400)) < 0.05
