"""Interquartile means and their intervals, by hand and against rliable."""

import numpy as np
import pytest
from rliable import library, metrics

from qframe.runs.statistics import interquartile_mean, stratified_bootstrap


@pytest.mark.parametrize(
    ("scores", "expected"),
    [([7.0], 7.0), ([0.0, 1.0, 5.0], 2.0), ([9.0, 0.0, 4.0, 6.0], 5.0), ([0.0, 1.0, 2.0, 3.0, 100.0], 2.0)],
)
def test_a_quarter_rounded_down_is_left_out_at_either_end(scores, expected):
    assert interquartile_mean(np.array(scores)) == expected


def test_the_mean_and_its_interval_are_those_of_rliable():
    scores = np.random.default_rng(0).normal(size=(10, 3)) * [1.0, 5.0, 10.0]
    assert interquartile_mean(scores) == pytest.approx(metrics.aggregate_iqm(scores), abs=1e-12)
    bootstrap = library.StratifiedBootstrap(scores, seed=0)
    interval = bootstrap.conf_int(lambda x: np.array([metrics.aggregate_iqm(x)]), reps=4000, method="percentile")[:, 0]
    width = interval[1] - interval[0]
    assert stratified_bootstrap(scores, resamples=4000) == pytest.approx(interval.tolist(), abs=0.05 * width)


def test_runs_are_drawn_within_each_task():
    scores = np.array([[0.0, 100.0]] * 5)  # tasks differ, runs do not: nothing is uncertain
    assert stratified_bootstrap(scores, np.mean) == (50.0, 50.0)


def test_the_same_seed_draws_alike():
    scores = np.arange(8.0).reshape(8, 1)
    assert stratified_bootstrap(scores) == stratified_bootstrap(scores)
    low, high = stratified_bootstrap(scores)
    assert low < interquartile_mean(scores) < high
