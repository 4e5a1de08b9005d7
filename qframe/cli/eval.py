"""``qframe eval RUN``: play greedy episodes of a trained run on fresh seeds, and print their statistics."""

import argparse
from pathlib import Path

import numpy as np

from qframe.cli.arguments import whole_number
from qframe.config.saved_run import open_run, trained_run
from qframe.config.targets import apply_trust
from qframe.errors import UserError
from qframe.formatting import format_count, format_mean, format_score
from qframe.training import Evaluation
from qframe.training.evaluation import cut_note, fault_note, format_protocol
from qframe.training.video import film


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The run, which network of it, and how many episodes."""
    parser.add_argument("run", type=Path, metavar="RUN", help="the run's folder")
    text = "episodes to play (default 100)"
    parser.add_argument("--episodes", type=whole_number, default=100, metavar="N", help=text)
    parser.add_argument("--seed", type=whole_number, default=0, metavar="S", help="of the episodes (default 0)")
    text = "film the first episodes into the run's folder videos/ (default 1; needs the extra video)"
    parser.add_argument("--video", type=whole_number, nargs="?", const=1, default=0, metavar="N", help=text)
    parser.add_argument("--last", action="store_true", help="the last network instead of the best one")
    text = "a package that _target_ may name besides qframe, torch.nn and torch.optim; may be repeated"
    parser.add_argument("--trust", action="append", default=[], metavar="PREFIX", help=text)


def run(arguments: argparse.Namespace) -> int:
    """Play the episodes and print their statistics.

    Raises:
        UserError: there is no run or checkpoint, or a number is out of range.
    """
    numbers = (("--episodes", arguments.episodes, 1), ("--seed", arguments.seed, 0), ("--video", arguments.video, 0))
    for name, value, least in numbers:
        if value < least:
            raise UserError(f"{name} must be at least {least}, got {value}")
    apply_trust(arguments.trust)
    folder = open_run(arguments.run)
    found = trained_run(folder, last=arguments.last)
    evaluation, stream = found.parts.evaluation, ("eval", arguments.seed)
    if arguments.video:
        _check_video(evaluation)
    result = evaluation.play(found.network, episodes=arguments.episodes, stream=stream)
    low, median, high = (format_score(float(of(result.returns))) for of in (np.min, np.median, np.max))
    print(f"{found.name} network of {folder.path}, trained for {found.frames:,} frames")
    print(f"episode_return {format_mean(result.mean, result.std)} over {format_count(len(result.returns), 'episode')}")
    print(f"lowest {low}, median {median}, highest {high}")
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
