"""``summary.json`` and the last lines of a run: the scores of its best and its last network, or why it failed."""

from collections.abc import Mapping
from contextlib import suppress
from copy import deepcopy
from pathlib import Path
from typing import Any

from qframe.formatting import format_mean, format_path, format_score
from qframe.loggers.console import Report
from qframe.networks.protocol import TrainedNetwork
from qframe.runs.folder import RunFolder
from qframe.training.best_network import BestNetwork
from qframe.training.evaluation import Evaluation, cut_note, fault_note, format_protocol
from qframe.training.video import Films


class Summary:
    """``summary.json`` of a run.

    Args:
        folder: of the run.
        seed: of the run.
    """

    def __init__(self, folder: RunFolder, seed: int) -> None:
        self._folder, self._seed = folder, seed

    def write(self, status: str, entries: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Write ``status`` (``running``, ``stopped``, ``failed`` or ``finished``), the seed and more entries."""
        summary = {"status": status, "seed": self._seed, **(entries or {})}
        self._folder.write_summary(summary)
        return summary

    def write_failed(self, error: BaseException, reached: dict[str, Any], checkpoint: str) -> None:
        """Write the summary of a run that an error ended, if the disk has room, and add a note to the error.

        Args:
            error: an ``Exception``, or the interrupt of a second Ctrl-C.
            reached: the ``progress``.
            checkpoint: names the last checkpoint, for the note.
        """
        error.add_note(f"at {reached['frames']:,} frames; {checkpoint}")
        with suppress(OSError):
            self.write("failed" if isinstance(error, Exception) else "stopped", {"error": repr(error), **reached})


def progress(frames: int, updates: int, seconds: float, train_return: float | None) -> dict[str, Any]:
    """The entries of the summary that are known before the final evaluation.

    Args:
        frames: trained so far.
        updates: taken so far.
        seconds: of wall time, in all processes of the run.
        train_return: the mean return of the last 100 training episodes; None before the first one has ended.
    """
    return {
        "frames": frames,
        "updates": updates,
        "wall_seconds": seconds,
        "frames_per_second": round(frames / max(seconds, 1e-3), 1),
        "train_return_mean": train_return,
    }


def final_scores(
    evaluation: Evaluation, network: TrainedNetwork, best: BestNetwork, films: Films, *, frames: int
) -> dict[str, Any]:
    """Evaluate the best and the last network on the same seeds.

    Args:
        evaluation: plays the episodes.
        network: the last network.
        best: the best network; without one, the last counts as the best.
        films: films the best network, if videos are on.
        frames: of the last network.

    Returns:
        The scores, and the protocol of the evaluation.
    """
    last = result = evaluation.final(network)
    if best.parameters is not None:
        network = deepcopy(network)
        network.load_state_dict(best.parameters)
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
        "best_frames": best.frames or frames,
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
        f"eval_return_mean {format_mean(summary['eval_return_mean'], summary['eval_return_std'])} over "
        f"{summary['eval_episodes']} {policy} episodes on fresh seeds (best network, at "
        f"{summary['best_frames']:,} frames; last network {format_score(summary['eval_return_last'])})"
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
