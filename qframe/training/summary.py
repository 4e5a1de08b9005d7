"""``summary.json`` and the last lines of a run: the scores of its best and its last network, or why it failed."""

import math
from collections.abc import Mapping
from contextlib import suppress
from copy import deepcopy
from functools import partial
from itertools import zip_longest
from pathlib import Path
from typing import Any

from qframe.formatting import format_command, format_count, format_mean, format_path, format_score
from qframe.loggers.console import Report
from qframe.networks.protocol import TrainedNetwork
from qframe.runs.folder import RunFolder
from qframe.training.best_networks import BestNetworks, Candidate
from qframe.training.episode_statistics import info_means
from qframe.training.evaluation import Evaluation, Progress, cut_note, fault_note, format_protocol
from qframe.training.video import Films

WORTH_A_NOTE = 5.0
"""Seconds of evaluation below which its share of a run is not reported."""


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
            reached: the ``progress_entries``.
            checkpoint: names the last checkpoint, for the note.
        """
        error.add_note(f"at {reached['frames']:,} frames; {checkpoint}")
        with suppress(OSError):
            self.write("failed" if isinstance(error, Exception) else "stopped", {"error": repr(error), **reached})


def progress_entries(frames: int, updates: int, seconds: float, train_return: float | None) -> dict[str, Any]:
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
    evaluation: Evaluation,
    network: TrainedNetwork,
    best: BestNetworks,
    films: Films,
    *,
    frames: int,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Choose the best network, and evaluate it and the last one on the same seeds.

    Of several candidates, the last network among them, the one with the highest return over ``final_episodes``
    episodes is the best. Of equal ones it is the one with the better periodic evaluation, then the earlier one. The
    final evaluation has other seeds, so its mean is not the highest of several.

    Args:
        evaluation: plays the episodes.
        network: the last network.
        best: the networks with the best periodic evaluations.
        films: films the best network, if videos are on.
        frames: of the last network.
        progress: called at every step, with the episodes of all these evaluations.

    Returns:
        The scores, the protocol of the evaluation, and the candidates.
    """
    candidates = list(best.candidates)
    is_judged = evaluation.candidates > 1 or not candidates
    if is_judged and all(candidate.frames != frames for candidate in candidates):
        candidates.append(Candidate(frames, math.nan, network.state_dict()))
    acting, chosen = deepcopy(network), candidates[0]
    judged: list[float] = []
    rounds = iter(_rounds(progress, len(candidates) + 2 if len(candidates) > 1 else 2))
    if len(candidates) > 1:
        for candidate in candidates:
            acting.load_state_dict(candidate.network)
            judged.append(evaluation.judge(acting, next(rounds)).mean)
        chosen = candidates[judged.index(max(judged))]
    last = result = evaluation.final(network, next(rounds))
    if chosen.frames != frames:
        acting.load_state_dict(chosen.network)
        result = evaluation.final(acting, next(rounds))
    films.take_final(network if chosen.frames == frames else acting)
    shown = [None if math.isnan(candidate.eval_return) else candidate.eval_return for candidate in candidates]
    records = zip_longest([candidate.frames for candidate in candidates], shown, judged)
    names = ("frames", "eval_return", "judged_return")
    return {
        "eval_return_mean": result.mean,
        "eval_return_std": result.std,
        "eval_return_last": last.mean,
        "eval_episodes": len(result.returns),
        "eval_episodes_cut": result.cut,
        "eval_faults": result.faults,
        **({"eval_info": info_means(result.infos)} if result.infos else {}),
        "eval_protocol": evaluation.protocol(len(result.returns), result.limit),
        "best_frames": chosen.frames,
        "candidates": [dict(zip(names, record, strict=True)) for record in records],
    }


def _rounds(progress: Progress | None, number: int) -> list[Progress]:
    """The progress of each of several evaluations of equally many episodes, as that of all of them."""

    def called(before: int, played: int, episodes: int) -> None:
        if progress is not None:
            progress(before * episodes + played, number * episodes)

    return [partial(called, before) for before in range(number)]


def report_result(
    report: Report, summary: dict[str, Any], folder: Path, *, total_frames: int, tensorboard: bool
) -> None:
    """Print the result of a run, the reason if it ended early, and where to find its files."""
    if "reason" in summary:
        report.say(f"ended before {total_frames:,} frames: {summary['reason']}")
    report.stop()
    protocol, judged = summary["eval_protocol"], len(summary["candidates"])
    how = f", chosen among {judged} by {summary['eval_episodes']} more episodes each" if judged > 1 else ""
    policy = "greedy" if protocol["epsilon"] == 0 else f"{protocol['epsilon']:g}-greedy"
    report.say(
        f"eval_return_mean {format_mean(summary['eval_return_mean'], summary['eval_return_std'])} over "
        f"{format_count(summary['eval_episodes'], f'{policy} episode')} on fresh seeds (best network, at "
        f"{summary['best_frames']:,} frames{how}; last network {format_score(summary['eval_return_last'])})"
    )
    report.say(f"protocol     {format_protocol(protocol)}")
    if numbers := summary.get("eval_info"):
        report.say("infos        " + ", ".join(f"{key} {mean:.4g}" for key, mean in numbers.items()))
    if summary["eval_episodes_cut"]:
        report.say(cut_note(summary["eval_episodes_cut"], summary["eval_episodes"], protocol["max_episode_steps"]))
    if summary["eval_faults"]:
        report.say(fault_note(summary["eval_faults"], summary["eval_episodes"]))
    evaluating, seconds = summary["evaluation_seconds"], summary["total_seconds"]
    if evaluating > max(WORTH_A_NOTE, seconds / 2):
        report.say(
            f"note: evaluation took {evaluating:.0f} of {seconds:.0f} s; raise evaluation.every, or lower "
            "evaluation.episodes, evaluation.final_episodes or evaluation.candidates"
        )
    report.say(f"{summary['frames']:,} frames and {summary['updates']:,} updates in {summary['wall_seconds']:.1f} s")
    report.say(f"run folder   {format_path(folder)}")
    if tensorboard:
        report.say(f"TensorBoard  {format_command('tensorboard', '--logdir', folder)}")
