"""How a run ends: its best and its last network on the same fresh seeds, the summary, and what is told."""

from contextlib import suppress
from copy import deepcopy
from pathlib import Path
from typing import Any

from torch import Tensor

from qframe.loggers.console import Report
from qframe.networks.protocol import TrainedNetwork
from qframe.runs.folder import RunFolder
from qframe.training.evaluation import Evaluation, EvaluationResult, note_of_cut, note_of_faults, told
from qframe.training.video import Films


def final_scores(
    evaluation: Evaluation, network: TrainedNetwork, best: dict[str, Tensor] | None, films: Films
) -> dict[str, Any]:
    """Evaluate the best and the last network on the same seeds, with the protocol beside the scores.

    Args:
        evaluation: plays.
        network: the last one.
        best: the parameters of the best one; None: no evaluation has judged any.
        films: of the best network, where there are to be some.
    """
    last = result = evaluation.final(network)
    if best is not None:
        network = deepcopy(network)
        network.load_state_dict(best)
        result = evaluation.final(network)
    films.take_final(network)
    return _scores(result, last) | {"eval_protocol": evaluation.protocol(len(last.returns))}


def _scores(best: EvaluationResult, last: EvaluationResult) -> dict[str, Any]:
    return {
        "eval_return_mean": best.mean,
        "eval_return_std": best.std,
        "eval_return_last": last.mean,
        "eval_episodes": len(best.returns),
        "eval_episodes_cut": best.cut,
        "eval_faults": best.faults,
    }


def tell(report: Report, summary: dict[str, Any], folder: Path, *, total_frames: int, tensorboard: bool) -> None:
    """Why it ended where that was early, the result, where it is, and how to look at it."""
    if "reason" in summary:
        report.say(f"ended before {total_frames:,} frames: {summary['reason']}")
    report.stop()
    report.say(
        f"eval_return_mean {summary['eval_return_mean']:.1f} ± {summary['eval_return_std']:.1f} over "
        f"{summary['eval_episodes']} {_manner(summary['eval_protocol'])} episodes on fresh seeds "
        f"(best network, of {summary['best_frames']:,} frames; last network {summary['eval_return_last']:.1f})"
    )
    report.say(f"protocol     {told(summary['eval_protocol'])}")
    if summary["eval_episodes_cut"]:
        limit = summary["eval_protocol"]["max_episode_steps"]
        report.say(note_of_cut(summary["eval_episodes_cut"], summary["eval_episodes"], limit))
    if summary["eval_faults"]:
        report.say(note_of_faults(summary["eval_faults"], summary["eval_episodes"]))
    report.say(f"{summary['frames']:,} frames and {summary['updates']:,} updates in {summary['wall_seconds']:.1f} s")
    report.say(f"run folder   {shown(folder)}")
    if tensorboard:
        report.say(f"TensorBoard  tensorboard --logdir {shown(folder)}")


def tell_of_error(error: BaseException, folder: RunFolder, progress: dict[str, Any], standing: str) -> None:
    """Note on an error how far the run came and what it has, and write a summary of it, where the disk has room.

    Args:
        error: ends the run.
        folder: of the run.
        progress: what the summary knows.
        standing: what checkpoints there are, in words.
    """
    status = "failed" if isinstance(error, Exception) else "stopped"
    error.add_note(f"at {progress['frames']:,} frames; {standing}")
    with suppress(OSError):
        folder.write_summary({"status": status, "error": repr(error), **progress})


def _manner(protocol: dict[str, Any]) -> str:
    return "greedy" if protocol["epsilon"] == 0 else f"{protocol['epsilon']:g}-greedy"


def shown(path: Path) -> Path:
    """A path as a user in the current folder would type it."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
