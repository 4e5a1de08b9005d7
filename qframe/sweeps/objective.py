"""The objective that a sweep compares: the best network, the last one, or the area under the learning curve."""

from collections.abc import Mapping
from pathlib import Path

from qframe.errors import ConfigError, Fault, hint
from qframe.runs.folder import RunFolder

TITLES = {"best": "eval_return_mean", "final": "eval_return_last", "area": "eval_return_area"}
"""The objectives, and the title of each one's column; the first two are keys of a run's summary."""


def check_objective(name: str) -> None:
    """Check the name of an objective.

    Raises:
        ConfigError: there is no such objective.
    """
    if name not in TITLES:
        message = f"expected one of {', '.join(TITLES)}, got '{name}'; {hint(name, TITLES)}"
        raise ConfigError([Fault("hydra.sweeper.objective", message, unknown=True)])


def objective(folder: Path, name: str) -> float | None:
    """A finished run's objective; None if it has none.

    Args:
        folder: the run's folder.
        name: ``best``: the network of the best evaluation, on fresh seeds; ``final``: the last network, on the same
            seeds; ``area``: the mean over all frames of the periodic evaluations.
    """
    run = RunFolder(folder)
    if name == "area":
        return area(evaluations(folder), run.config.get("total_frames", 0)) if run.is_finished else None
    return run.summary.get(TITLES[name])


def evaluations(folder: Path) -> dict[int, float]:
    """The mean return of each periodic evaluation, by frames."""
    return {frames: value for frames, value, _ in RunFolder(folder).evaluations}


def area(curve: Mapping[int, float], total_frames: int) -> float | None:
    """The mean height of a learning curve.

    Each evaluation counts for the frames since the previous one, the last also for those to the end.

    >>> area({10: 1.0, 20: 3.0}, 40)  # (10·1 + 10·3 + 20·3) / 40
    2.5
    """
    if not curve:
        return None
    frames = sorted(curve)
    before = [0, *frames[:-1]]
    total = sum(curve[at] * (at - earlier) for at, earlier in zip(frames, before, strict=True))
    end = max(total_frames, frames[-1])
    return (total + curve[frames[-1]] * (end - frames[-1])) / end
