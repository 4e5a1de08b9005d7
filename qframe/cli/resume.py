"""``qframe resume RUN``: go on with a run from its last checkpoint, or with what is left of a sweep, in its folder."""

import argparse
from pathlib import Path

from qframe.cli.resumable import go_on
from qframe.cli.train import relaunch
from qframe.config.saved_run import open_run
from qframe.config.targets import apply_trust
from qframe.sweeps.folder import SweepFolder


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The run, and what is to be different from now on."""
    parser.add_argument("run", type=Path, metavar="RUN", help="the folder of a run or a sweep")
    parser.add_argument("overrides", nargs="*", metavar="OVERRIDE", help="key=value, as total_frames=100k")
    text = "a package that _target_ may name besides qframe, torch.nn and torch.optim; may be repeated"
    parser.add_argument("--trust", action="append", default=[], metavar="PREFIX", help=text)


def run(arguments: argparse.Namespace) -> int:
    """Load the checkpoint into the same parts and train on.

    Raises:
        UserError: no run, no checkpoint, a run that is finished, or a change that does not fit the checkpoint.
    """
    if SweepFolder(arguments.run).record.is_file():
        return relaunch(arguments)
    apply_trust(arguments.trust)
    return go_on(open_run(arguments.run), arguments.overrides, started=arguments.started)
