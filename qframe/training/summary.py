"""``summary.json`` and the last lines of a run: the scores of its best and its last network, or why it failed."""

from contextlib import suppress
from copy import deepcopy
from pathlib import Path
from typing import Any

from torch import Tensor

from qframe.loggers.console import Report
from qframe.networks.protocol import TrainedNetwork
from qframe.runs.folder import RunFolder
from qframe.training.evaluation import Evaluation, cut_note, fault_note, format_protocol
from qframe.training.video import Films


def final_scores(
    evaluation: Evaluation, network: TrainedNetwork, best: dict[str, Tensor] | None, films: Films
) -> dict[str, Any]:
    """Evaluate the best and the last network on the same seeds.

    Args:
        evaluation: plays the episodes.
        network: the last network.
        best: the parameters of the best network; None if there was no evaluation.
        films: films the best network, if videos are on.

    Returns:
        The scores, and the protocol of the evaluation.
    """
    last = result = evaluation.final(network)
    if best is not None:
        network = deepcopy(network)
        network.load_state_dict(best)
        result = evaluation.final(network)
    films.take_final(network)
    return {
        "eval_return_mean": result.mean,
        "eval_return_std": result.std,
        "eval_return_last": last.mean,
        "eval_episodes": len(result.returns),
        "eval_episodes_cut": result.cut,
        "eval_faults": result.faults,
        "eval_protocol": evaluation.protocol(len(last.returns)),
    }


def report_result(
    report: Report, summary: dict[str, Any], folder: Path, *, total_frames: int, tensorboard: bool
) -> None:
    """Print the result of a run, the reason if it ended early, and where to find its files."""
    if "reason" in summary:
        report.say(f"ended before {total_frames:,} frames: {summary['reason']}")
    report.stop()
    protocol = summary["eval_protocol"]
    policy = "greedy" if protocol["epsilon"] == 0 else f"{protocol['epsilon']:g}-greedy"
    report.say(
        f"eval_return_mean {summary['eval_return_mean']:.1f} ± {summary['eval_return_std']:.1f} over "
        f"{summary['eval_episodes']} {policy} episodes on fresh seeds "
        f"(best network, at {summary['best_frames']:,} frames; last network {summary['eval_return_last']:.1f})"
    )
    report.say(f"protocol     {format_protocol(protocol)}")
    if summary["eval_episodes_cut"]:
        report.say(cut_note(summary["eval_episodes_cut"], summary["eval_episodes"], protocol["max_episode_steps"]))
    if summary["eval_faults"]:
        report.say(fault_note(summary["eval_faults"], summary["eval_episodes"]))
    report.say(f"{summary['frames']:,} frames and {summary['updates']:,} updates in {summary['wall_seconds']:.1f} s")
    report.say(f"run folder   {format_path(folder)}")
    if tensorboard:
        report.say(f"TensorBoard  tensorboard --logdir {format_path(folder)}")


def write_failure(folder: RunFolder, error: BaseException, progress: dict[str, Any], checkpoint: str) -> None:
    """Write the summary of a run that an error ended, if the disk has room, and add a note to the error.

    Args:
        folder: of the run.
        error: an ``Exception``, or the interrupt of a second Ctrl-C.
        progress: the summary's entries so far.
        checkpoint: names the last checkpoint, for the note.
    """
    status = "failed" if isinstance(error, Exception) else "stopped"
    error.add_note(f"at {progress['frames']:,} frames; {checkpoint}")
    with suppress(OSError):
        folder.write_summary({"status": status, "error": repr(error), **progress})


def format_path(path: Path) -> Path:
    """A path as a user in the current folder would type it."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
