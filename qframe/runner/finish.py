"""How a run ends: its best and its last network on the same fresh seeds, the summary, and what is told."""

from copy import deepcopy
from pathlib import Path
from typing import Any

from torch import Tensor

from qframe.modules.networks.adapters import TrainedNetwork
from qframe.runner.evaluation import Evaluation, EvaluationResult
from qframe.runner.progress import Report


def final_scores(
    evaluation: Evaluation, network: TrainedNetwork, best: dict[str, Tensor] | None
) -> dict[str, float | int]:
    """Evaluate the best and the last network on the same seeds.

    Args:
        evaluation: plays.
        network: the last one.
        best: the parameters of the best one; None: no evaluation has judged any.
    """
    last = evaluation.final(network)
    if best is None:
        return _scores(last, last)
    other = deepcopy(network)
    other.load_state_dict(best)
    return _scores(evaluation.final(other), last)


def _scores(best: EvaluationResult, last: EvaluationResult) -> dict[str, float | int]:
    return {
        "eval_return_mean": best.mean,
        "eval_return_std": best.std,
        "eval_return_last": last.mean,
        "eval_episodes": len(best.returns),
    }


def tell(report: Report, summary: dict[str, Any], folder: Path, *, tensorboard: bool) -> None:
    """The result, where it is, and how to look at it."""
    report.stop()
    report.say(
        f"eval_return_mean {summary['eval_return_mean']:.1f} ± {summary['eval_return_std']:.1f} over "
        f"{summary['eval_episodes']} greedy episodes on fresh seeds "
        f"(best network, of {summary['best_frames']:,} frames; last network {summary['eval_return_last']:.1f})"
    )
    report.say(f"{summary['frames']:,} frames and {summary['updates']:,} updates in {summary['wall_seconds']:.1f} s")
    report.say(f"run folder   {shown(folder)}")
    if tensorboard:
        report.say(f"TensorBoard  tensorboard --logdir {shown(folder)}")


def shown(path: Path) -> Path:
    """A path as a user in the current folder would type it."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
