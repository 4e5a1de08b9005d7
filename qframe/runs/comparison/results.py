"""The numbers of ``qframe compare``: scores of groups with intervals, and how soon each group reached a return."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qframe.errors import UserError, hint
from qframe.runs.comparison.groups import Group, by_environment, groups
from qframe.runs.curves import Curves, Reached, curves, time_to, usual_threshold
from qframe.runs.folder import RunFolder, flat, value_at
from qframe.runs.statistics import (
    improvement_interval,
    interquartile_mean,
    performance_profile,
    probability_of_improvement,
    stratified_bootstrap,
)


@dataclass(frozen=True)
class GroupResult:
    """One group: scores ``[N, 1]``, their IQM and its interval, learning curves, and when the threshold was reached."""

    group: Group
    scores: NDArray[np.float64]
    iqm: float
    interval: tuple[float, float] | None  # None for a single run
    curves: Curves
    reached: Reached | None


@dataclass(frozen=True)
class Improvement:
    """The probability that a run of ``better`` scores higher than one of ``worse``."""

    better: str
    worse: str
    probability: float
    interval: tuple[float, float] | None


@dataclass(frozen=True)
class EnvironmentResult:
    """The groups of one environment, best first, and each pair of them."""

    environment: str
    threshold: float | None
    groups: list[GroupResult]
    improvements: list[Improvement]

    def profile(self) -> tuple[NDArray[np.float64], list[NDArray[np.float64]]]:
        """The performance profile: returns ``[K]``, and for each group the fraction of runs above each return."""
        scores = np.concatenate([result.scores for result in self.groups])
        low, high = scores.min(), scores.max()
        margin = 0.02 * max(high - low, 1.0)
        grid = np.linspace(low - margin, high + margin, 201)
        return grid, [performance_profile(result.scores, grid) for result in self.groups]


@dataclass(frozen=True)
class OverviewRow:
    """The scores of one group label over several environments, each normalised to [0, 1] by all runs there.

    ``scores`` has one interquartile mean per environment, None where the group has no run; ``mean`` is their mean, None
    if one is missing.
    """

    label: str
    scores: list[float | None]
    mean: float | None


def overview(results: Sequence[EnvironmentResult]) -> list[OverviewRow]:
    """A row per group label, best first: in each environment 0 is the lowest score of a run and 1 the highest."""
    found: dict[str, list[float | None]] = {}
    for index, result in enumerate(results):
        scores = np.concatenate([group.scores for group in result.groups])
        low, span = float(scores.min()), float(np.ptp(scores)) or 1.0
        for group in result.groups:
            row = found.setdefault(group.group.label, [None] * len(results))
            row[index] = (group.iqm - low) / span
    rows = []
    for label, scores_of in found.items():
        known = [score for score in scores_of if score is not None]
        rows.append(OverviewRow(label, scores_of, sum(known) / len(known) if len(known) == len(results) else None))
    return sorted(rows, key=lambda row: -np.inf if row.mean is None else row.mean, reverse=True)


def compare(
    runs: Sequence[RunFolder],
    *,
    score: str,
    thresholds: Mapping[str, float],
    names: Mapping[str, str],
    by: Sequence[str] = (),
) -> list[EnvironmentResult]:
    """The results of each environment.

    Args:
        runs: finished ones.
        score: its key in their summaries.
        thresholds: returns to reach, by environment; ``""`` is for all others.
        names: short names of classes, by ``group=target``.
        by: keys that group the runs; none for all in which they differ.

    Raises:
        UserError: no run has such a key, a run has no such score, or a threshold is for an environment without runs.
    """
    for run in runs:
        if not _is_number(run.summary.get(score)):
            known = [name for name, value in run.summary.items() if _is_number(value)]
            raise UserError(f"--score: {run.path} has no number '{score}'; {hint(score, known)}")
    for key in by:
        if all(value_at(run.config, key) is None for run in runs):
            known = {name for run in runs for name in (*run.config, *flat(run.config))}
            raise UserError(f"--by: no run has the key '{key}'; {hint(key, known)}")
    environments = by_environment(runs)
    for name in thresholds:
        if name and name not in environments:
            raise UserError(f"--threshold: no run of an environment '{name}'; {hint(name, environments)}")
    results = []
    for environment, members in environments.items():
        threshold = thresholds.get(environment, thresholds.get("", usual_threshold(members)))
        found = [_group_result(group, score, threshold) for group in groups(members, names, by)]
        found.sort(key=lambda result: -result.iqm)
        pairs = [(better, worse) for index, better in enumerate(found) for worse in found[index + 1 :]]
        results.append(EnvironmentResult(environment, threshold, found, [_improvement(*pair) for pair in pairs]))
    return results


def _group_result(group: Group, score: str, threshold: float | None) -> GroupResult:
    scores = np.array([[float(run.summary[score])] for run in group.runs])
    return GroupResult(
        group=group,
        scores=scores,
        iqm=interquartile_mean(scores),
        interval=stratified_bootstrap(scores) if len(scores) > 1 else None,
        curves=curves(group.runs),
        reached=None if threshold is None else time_to(threshold, group.runs),
    )


def _improvement(better: GroupResult, worse: GroupResult) -> Improvement:
    pair = better.scores, worse.scores
    interval = improvement_interval(*pair) if min(map(len, pair)) > 1 else None
    return Improvement(better.group.label, worse.group.label, probability_of_improvement(*pair), interval)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and bool(np.isfinite(value))
