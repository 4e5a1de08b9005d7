"""``qframe eval RUN``: play greedy episodes of a trained run on fresh seeds, and print their statistics."""

import argparse

import numpy as np

from qframe.config.saved_run import trained_run
from qframe.config.targets import apply_trust
from qframe.errors import UserError
from qframe.formatting import format_count, format_mean, format_score
from qframe.loggers.console import LineReport
from qframe.runs.folder import open_run
from qframe.training import Evaluation
from qframe.training.episode_statistics import info_means
from qframe.training.evaluation import cut_note, fault_note, format_protocol
from qframe.training.video import film


def run(arguments: argparse.Namespace) -> int:
    """Play the episodes and print their statistics.

    Raises:
        UserError: there is no run or checkpoint.
    """
    apply_trust(arguments.trust)
    folder = open_run(arguments.run)
    found = trained_run(folder, last=arguments.last, device=arguments.device)
    evaluation, stream = found.parts.evaluation, ("eval", arguments.seed)
    if arguments.video:
        _check_video(evaluation)
    progress = LineReport().evaluating
    result = evaluation.play(found.network, episodes=arguments.episodes, stream=stream, progress=progress)
    low, median, high = (format_score(float(of(result.returns))) for of in (np.min, np.median, np.max))
    print(f"{found.name} network of {folder.path}, trained for {found.frames:,} frames")
    print(f"episode_return {format_mean(result.mean, result.std)} over {format_count(len(result.returns), 'episode')}")
    print(f"lowest {low}, median {median}, highest {high}")
    for key, mean in info_means(result.infos).items():
        print(f"info/{key} {mean:.4g} in the mean")
    print(f"protocol {format_protocol(evaluation.protocol(arguments.episodes, result.limit))}")
    if result.cut:
        print(cut_note(result.cut, len(result.returns), result.limit))
    if result.faults:
        print(fault_note(result.faults, len(result.returns)))
    if arguments.video:
        path = folder.videos / f"eval-{found.name}-seed{arguments.seed}.mp4"
        made = film(evaluation, found.network, path, episodes=arguments.video, stream=stream)
        print(f"video {made.path}: episodes that returned {', '.join(map(format_score, made.result.returns))}")
    return 0


def _check_video(evaluation: Evaluation) -> None:
    try:
        evaluation.check_video()
    except ValueError as error:
        raise UserError(f"--video: {error}") from error
