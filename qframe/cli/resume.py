"""``qframe resume RUN``: resume a run from its last checkpoint, or the jobs that are left of a sweep, in its folder."""

import argparse
import re
from collections.abc import Sequence

from qframe.config import build
from qframe.config.auto import workers_of
from qframe.config.saved_run import fitting, saved_config
from qframe.config.schema import GROUPS
from qframe.config.targets import apply_trust
from qframe.config.trained_weights import checkpoint
from qframe.errors import UserError
from qframe.runs.folder import RunFolder, open_run
from qframe.sweeps.folder import SweepFolder
from qframe.sweeps.sweep import relaunch

FIXED = (
    "name", "seed", "gamma", "init", "action_space", "network", "trunk", "head",
    "env._target_", "env.id", "env.game", "env.kwargs", "env.wrappers", "env.num_envs",
)  # fmt: skip
"""Groups and entries that cannot change: they define the task, or what the checkpoint holds."""


def run(arguments: argparse.Namespace) -> int:
    """Resume the run or sweep.

    Raises:
        UserError: no run, no checkpoint, a run that is finished, or a change that does not fit the checkpoint.
    """
    if SweepFolder(arguments.run).record.is_file():
        if arguments.reshard:
            raise UserError("--reshard is for single runs; the jobs of a sweep keep their learner.workers")
        return relaunch(arguments.run, arguments.overrides, arguments.trust)
    apply_trust(arguments.trust)
    folder, started = open_run(arguments.run), arguments.started
    return resume_run(folder, arguments.overrides, started=started, reshards=arguments.reshard)


def resume_run(
    folder: RunFolder, overrides: Sequence[str] = (), *, started: float | None = None, reshards: bool = False
) -> int:
    """Load the newest whole checkpoint into the same parts and train on; the exit status.

    Raises:
        UserError: no checkpoint, a run that is finished, or a change that does not fit.
    """
    check_changes(overrides)
    config, state = saved_config(folder, overrides), checkpoint(folder)
    frames, status = state["run"]["frames"], folder.summary.get("status", "unknown")
    if config.total_frames < frames and any(_key(override) == "total_frames" for override in overrides):
        raise UserError(
            f"{folder.path} has trained for {frames:,} frames already, more than total_frames={config.total_frames}; "
            "choose a larger number"
        )
    if frames >= config.total_frames and status == "finished":
        raise UserError(
            f"{folder.path} is finished, at {frames:,} of {config.total_frames:,} frames; to train on, add "
            f"total_frames={2 * frames}"
        )
    if note := _resharding(state["run"].get("ranks", 1), workers_of(config), reshards):
        print(note)
    with fitting():
        runner = build.build(config, folder.path, state=state, reshards=reshards, started=started)
    runner.run()
    return 0


def _resharding(before: int, now: int, reshards: bool) -> str:
    """What changes if another number of learners resumes the run; empty if the number is the same.

    Raises:
        UserError: it differs without ``--reshard``, or does not with it.
    """
    if before == now and reshards:
        raise UserError(f"--reshard is for another number of learners, and the run has {before}; set learner.workers")
    if before == now:
        return ""
    if not reshards:
        raise UserError(
            f"learner.workers: the run's replay and environments are divided among {before} learners, not {now}; "
            "add --reshard to divide them again, which does not resume it exactly"
        )
    return (
        f"resharded from {before} to {now} learners. Kept: networks, optimizer, counters, schedules, logs, the best "
        "networks. Changed: running episodes are abandoned; replays and their priorities start empty and fill for "
        "runner.learning_starts frames before updates continue"
    )


def check_changes(overrides: Sequence[str]) -> None:
    """Refuse changes that would be ignored, or that would make it a different run.

    Raises:
        UserError: there is such a change.
    """
    for override in overrides:
        key = _key(override)
        group, *entries = re.split(r"[./[]", key)
        fixed = next((place for place in (group, ".".join([group, *entries[:1]])) if place in FIXED), None)
        if key in GROUPS:
            raise UserError(
                f"{key}: a run resumes with its own parts, so '{override}' cannot replace them; change values such as "
                "optimizer.lr=1e-4, or start another run by qframe train"
            )
        if fixed is not None:
            raise UserError(
                f"{key}: '{override}' cannot change while a run resumes, because {fixed} is part of what was trained; "
                "start another run by qframe train"
            )


def _key(override: str) -> str:
    return override.lstrip("+~").partition("=")[0]
