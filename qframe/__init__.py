"""qframe: a declarative training framework for deep Q-learning.

The command line for scripts and notebooks: :func:`train`, :func:`load` and ``runs()``. They import torch when they are
called, so that importing qframe takes no time.
"""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from qframe.export.policy import Policy
    from qframe.runs.folder import RunFolder

__version__ = "0.2.0"


def train(
    overrides: Sequence[str] = (), *, config_dir: str | Path | None = None, trust: Sequence[str] = ()
) -> "RunFolder":
    """Train one run, as ``qframe train`` does.

    Args:
        overrides: such as ``["experiment=cartpole_c51", "optimizer.lr=1e-3"]``.
        config_dir: a folder with options of your own.
        trust: packages that ``_target_`` may name.

    Returns:
        The run's folder, with its ``summary``, ``metrics`` and ``config``.

    Raises:
        UserError: the config has faults.
    """
    from qframe.cli import train as command
    from qframe.cli.arguments import Parser
    from qframe.errors import UserError
    from qframe.runs.folder import RunFolder

    words = [*overrides, *(word for prefix in trust for word in ("--trust", prefix))]
    arguments = Parser("train").parse_words(words + ([] if config_dir is None else ["--config-dir", str(config_dir)]))
    arguments.started = time.monotonic()
    if arguments.multirun:
        raise UserError("a sweep starts several processes; launch it from the command line: qframe train -m")
    command.run(arguments)
    return RunFolder(arguments.folder)


def load(run: str | Path, *, last: bool = False, device: str = "cpu", trust: Sequence[str] = ()) -> "Policy":
    """The trained policy of a run: ``policy(observation)`` is the action for ``env.step``.

    Args:
        run: its folder.
        last: whether to take the last network in place of the best one.
        device: of the network.
        trust: packages that the run's config may name.

    Raises:
        UserError: there is no run or no checkpoint.
    """
    from qframe.config.saved_run import trained_run
    from qframe.config.targets import apply_trust
    from qframe.export.policy import Policy
    from qframe.runs.folder import open_run

    apply_trust(trust)
    found = trained_run(open_run(Path(run)), last=last, device=device)
    return Policy(found.network, found.parts.action_space)


def run_table(*folders: str | Path) -> list[dict[str, Any]]:
    """The runs in these folders, by default ``outputs``: a table for ``pandas.DataFrame``, shown as one in a notebook.

    Raises:
        UserError: a folder does not exist, or has no run in it.
    """
    from qframe.cli.runs import RunTable, facts
    from qframe.cli.tables import OUTPUTS, named_runs

    return RunTable(map(facts, named_runs(map(Path, folders or (OUTPUTS,)))))


runs = run_table
