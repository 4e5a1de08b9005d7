"""``qframe eval RUN``: greedy episodes of a trained run on fresh seeds, and their statistics."""

import argparse
from pathlib import Path

import numpy as np
import torch

from qframe.cli.arguments import apply_trust, whole_number
from qframe.cli.run_folder import checkpoint, fitting, open_run, saved_config
from qframe.config import build
from qframe.config.errors import UserError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The run, which network of it, and how many episodes."""
    parser.add_argument("run", type=Path, metavar="RUN", help="the run's folder")
    text = "episodes to play (default 100)"
    parser.add_argument("--episodes", type=whole_number, default=100, metavar="N", help=text)
    parser.add_argument("--seed", type=whole_number, default=0, metavar="S", help="another number plays other episodes")
    parser.add_argument("--last", action="store_true", help="the last network instead of the best one")
    text = "a package that _target_ may name besides qframe, torch.nn and torch.optim; may be repeated"
    parser.add_argument("--trust", action="append", default=[], metavar="PREFIX", help=text)


def run(arguments: argparse.Namespace) -> int:
    """Play and print.

    Raises:
        UserError: no run, no checkpoint, or a number out of range.
    """
    for name, value, least in (("--episodes", arguments.episodes, 1), ("--seed", arguments.seed, 0)):
        if value < least:
            raise UserError(f"{name}: expected an integer of at least {least}, got {value}")
    apply_trust(arguments.trust)
    folder = open_run(arguments.run)
    config = saved_config(folder)
    torch.set_num_threads(config.runner.threads)
    parts = build.parts(config)
    network = parts.loss.value_network
    use_best = folder.best_checkpoint.is_file() and not arguments.last
    if use_best:
        state = checkpoint(folder.best_checkpoint)
        with fitting():
            network.load_state_dict(state["network"])
    else:
        state = checkpoint(folder.last_checkpoint)
        with fitting():
            parts.loss.load_state_dict(state["learner"]["loss"])
    result = parts.evaluation.play(network, episodes=arguments.episodes, stream=("eval", arguments.seed))
    low, high = np.min(result.returns), np.max(result.returns)
    print(f"{'best' if use_best else 'last'} network of {folder.path}, trained for {state['frames']:,} frames")
    print(f"episode_return {result.mean:.1f} ± {result.std:.1f} over {len(result.returns)} greedy episodes")
    print(f"lowest {low:.1f}, median {np.median(result.returns):.1f}, highest {high:.1f}")
    return 0
