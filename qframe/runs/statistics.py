"""Statistics of the scores of several runs, with confidence intervals.

See "Deep Reinforcement Learning at the Edge of the Statistical Precipice", Agarwal et al., 2021, sections 4.1 and 4.3.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Scores = NDArray[np.float64]


def interquartile_mean(scores: Scores) -> float:
    """The mean of the middle half: a quarter of the scores, rounded down, is left out at either end.

    Args:
        scores: of any shape, not empty.

    >>> interquartile_mean(np.array([0.0, 4.0, 6.0, 100.0]))
    5.0
    """
    ordered = np.sort(scores, axis=None)
    cut = len(ordered) // 4
    return float(ordered[cut : len(ordered) - cut].mean())


def stratified_bootstrap(
    scores: Scores,
    statistic: Callable[[Scores], float] = interquartile_mean,
    *,
    confidence: float = 0.95,
    resamples: int = 2_000,
    seed: int = 0,
) -> tuple[float, float]:
    """The percentile interval of a statistic; runs are resampled with replacement within each task.

    Args:
        scores: ``[runs, tasks]``; one column is one environment.
        statistic: of such an array.
        confidence: the interval's mass.
        resamples: number of bootstrap samples.
        seed: of the resampling.

    >>> stratified_bootstrap(np.array([[1.0], [1.0], [1.0]]))
    (1.0, 1.0)
    """
    generator, (runs, tasks) = np.random.default_rng(seed), scores.shape
    column = np.arange(tasks)
    drawn = [statistic(scores[generator.integers(runs, size=(runs, tasks)), column]) for _ in range(resamples)]
    low, high = np.quantile(drawn, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)


def probability_of_improvement(first: Scores, second: Scores) -> float:
    """The probability that a run of the first scores higher than one of the second, averaged over tasks; ties are half.

    ``P(X > Y) = 1/T · Σ_t U(x_t, y_t) / (N·M)``, U the statistic of Mann and Whitney. See section 4.3.

    Args:
        first: ``[N, tasks]``.
        second: ``[M, tasks]``, of the same tasks.

    >>> probability_of_improvement(np.array([[1.0], [3.0]]), np.array([[1.0], [2.0]]))
    0.625
    """
    difference = first[:, None] - second  # [N, M, T]
    return float(((difference > 0) + 0.5 * (difference == 0)).mean())


def improvement_interval(
    first: Scores, second: Scores, *, confidence: float = 0.95, resamples: int = 2_000, seed: int = 0
) -> tuple[float, float]:
    """The percentile interval of the probability of improvement; runs of both are resampled within each task.

    >>> improvement_interval(np.array([[2.0], [3.0]]), np.array([[0.0], [1.0]]))
    (1.0, 1.0)
    """
    generator, tasks = np.random.default_rng(seed), np.arange(first.shape[1])
    drawn = [
        probability_of_improvement(*(x[generator.integers(len(x), size=x.shape), tasks] for x in (first, second)))
        for _ in range(resamples)
    ]
    low, high = np.quantile(drawn, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)


def performance_profile(scores: Scores, thresholds: Scores) -> Scores:
    """The fraction of runs that score above each threshold ``[K]``. See section 4.2.

    >>> performance_profile(np.array([[1.0], [3.0]]), np.array([0.0, 1.0, 2.0]))
    array([1. , 0.5, 0.5])
    """
    return (scores.reshape(-1, 1) > thresholds).mean(0)
