"""What a sweep compares: the best network, the last one, or the area under the curve of evaluations."""

import json
from collections.abc import Mapping
from pathlib import Path

from omegaconf import OmegaConf

from qframe.errors import ConfigError, Fault, hint
from qframe.runs.folder import RunFolder

EVALUATION = "eval/episode_return"
OBJECTIVES = ("best", "final", "area")


def check_objective(name: str) -> None:
    """Refuse a name that is no objective.

    Raises:
        ConfigError: with the nearest one.
    """
    if name not in OBJECTIVES:
        message = f"expected one of {', '.join(OBJECTIVES)}, got '{name}'; {hint(name, OBJECTIVES)}"
        raise ConfigError([Fault("hydra.sweeper.objective", message, unknown=True)])


def objective(folder: Path, name: str) -> float | None:
    """A finished run's objective; None where it has none.

    Args:
        folder: the run's.
        name: ``best``, the network of the best evaluation on fresh seeds; ``final``, the last network on the same
            seeds; ``area``, the mean over all frames of the periodic evaluations.
    """
    summary = RunFolder(folder).summary
    if name == "area":
        if summary.get("status") != "finished":
            return None
        config = OmegaConf.load(RunFolder(folder).config_file)
        return area(evaluations(folder), OmegaConf.select(config, "total_frames"))
    return summary.get({"best": "eval_return_mean", "final": "eval_return_last"}[name])


def evaluations(folder: Path) -> dict[int, float]:
    """The mean return of each periodic evaluation, by frames."""
    file = RunFolder(folder).metrics_file
    found: dict[int, float] = {}
    for line in file.read_text().splitlines() if file.is_file() else []:
        if EVALUATION not in line:
            continue
        try:
            values = json.loads(line)
        except ValueError:  # the last line while it is written
            continue
        found[values["frames"]] = values[EVALUATION]
    return found


def area(curve: Mapping[int, float], total_frames: int) -> float | None:
    """The mean height of the curve: each evaluation counts for the frames since the one before it, the last to the end.

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
