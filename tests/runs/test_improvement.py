"""Probability of improvement and performance profiles, by hand and against rliable."""

import importlib

import numpy as np
import pytest

from qframe.runs.statistics import improvement_interval, performance_profile, probability_of_improvement


def draw(seed, runs, tasks=3):
    return np.random.default_rng(seed).integers(0, 6, size=(runs, tasks)).astype(float)  # ties occur


@pytest.mark.parametrize(
    ("first", "second", "expected"), [([2, 3], [0, 1], 1.0), ([0], [0], 0.5), ([0, 2], [1], 0.5), ([0], [1, 0], 0.25)]
)
def test_every_pair_counts_and_a_tie_is_half(first, second, expected):
    x, y = (np.array(scores, dtype=float)[:, None] for scores in (first, second))
    assert probability_of_improvement(x, y) == expected
    assert probability_of_improvement(y, x) == 1 - expected


@pytest.fixture(scope="module")
def rliable():
    """Imported where it is needed: that takes seconds, and every worker collects every test."""
    importlib.import_module("rliable.metrics")
    importlib.import_module("rliable.library")
    return importlib.import_module("rliable")


@pytest.mark.parametrize("seed", range(5))
def test_the_probability_is_that_of_rliable(seed, rliable):
    x, y = draw(seed, 5), draw(seed + 10, 7)
    expected = rliable.metrics.probability_of_improvement(x, y)
    assert probability_of_improvement(x, y) == pytest.approx(expected, abs=1e-12)


def test_the_interval_is_that_of_rliable(rliable):
    x, y = draw(1, 8), draw(2, 6)
    pair = {"pair": (x, y)}
    _, intervals = rliable.library.get_interval_estimates(pair, rliable.metrics.probability_of_improvement, reps=300)
    expected = intervals["pair"][:, 0]
    assert improvement_interval(x, y) == pytest.approx(expected.tolist(), abs=0.15 * (expected[1] - expected[0]))


def test_profiles_are_those_of_rliable(rliable):
    scores, thresholds = draw(3, 6), np.linspace(-1, 7, 33)
    profiles, _ = rliable.library.create_performance_profile({"a": scores}, thresholds, reps=10)
    assert performance_profile(scores, thresholds) == pytest.approx(profiles["a"], abs=1e-12)
