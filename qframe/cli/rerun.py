"""``qframe rerun RUN``: train the same run again in a new folder and check that it logs the same, or with changes."""

import argparse
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

from omegaconf import DictConfig

from qframe.cli.diff import differences
from qframe.cli.tables import OUTPUTS
from qframe.config import build
from qframe.config.auto import pick_device
from qframe.config.saved_run import saved_config
from qframe.config.schema import GROUPS
from qframe.config.targets import apply_trust
from qframe.errors import UserError
from qframe.runs.folder import RunFolder, is_unused, new_folder, open_run


def run(arguments: argparse.Namespace) -> int:
    """Train with the run's own resolved config, on the device it picked, and compare the logs unless it is changed.

    Returns:
        0; 1 if the two differ.

    Raises:
        UserError: there is no run, its config cannot run here, or an override chooses an option of a group.
    """
    overrides = list(arguments.overrides)
    if chosen := [text for text in overrides if text.partition("=")[0].lstrip("+~") in GROUPS]:
        message = "a run is trained again with its own parts; change values, or use qframe train"
        raise UserError(f"'{chosen[0]}': {message}")
    apply_trust(arguments.trust)
    earlier = RunFolder(open_run(arguments.run).path)
    config = saved_config(RunFolder(earlier.path), overrides)
    device = earlier.manifest.get("picked", {}).get("device")
    is_moved = any(text.startswith("device=") for text in overrides)
    if device and not is_moved and device != str(pick_device(config.device)):
        config = saved_config(RunFolder(earlier.path), [*overrides, f"device={device}"])
    assembly = build.Assembly(config).checked()
    folder = _folder(config, arguments.dir)
    runner = build.build(assembly, folder, started=arguments.started)
    for key, then, now in differences(_versions(earlier), _versions(RunFolder(folder))):
        print(f"changed since: {key} was {then}, is {now}")
    runner.run()
    if overrides:
        return 0
    difference, message = compared(earlier, RunFolder(folder))
    print(message)
    return 1 if difference else 0


class Compared(NamedTuple):
    """Whether two runs differ, and a message about it."""

    is_different: bool
    message: str


def compared(earlier: RunFolder, later: RunFolder) -> Compared:
    """Whether two runs logged the same apart from times, and if not, the first difference.

    A run that ended and was resumed with more frames has an extra log where it ended, and its next log covers a part
    of the frames that the other run's covers. So only logs that start and end at the same frames are compared.

    Args:
        earlier: a run that may have been stopped or resumed.
        later: the same run without interruption; the earlier one has all of its logs, as far as it came.
    """
    before, after = _logs(earlier), _logs(later)
    for span, then in before.items():
        if (now := after.get(span)) is not None and then != now:
            key, was, became = differences(then, now)[0]
            return Compared(True, f"differs from {span.stop:,} frames on: {key} was {was}, is {became}")
    for is_evaluation in (False, True):
        logged, again = (_frames(logs, is_evaluation) for logs in (before, after))
        is_whole, last = earlier.status == "finished", max(logged, default=0)
        if lacking := [frames for frames in again if frames not in logged and (is_whole or frames < last)]:
            return Compared(True, f"differs from {min(lacking):,} frames on: only the new run has a log there")
        if max(again, default=0) < last:
            return Compared(True, f"differs from {last:,} frames on: only the earlier run has a log there")
    if before.keys() == after.keys():
        return Compared(False, f"the same in all {len(after)} logs")
    shared = len(before.keys() & after.keys())
    text = f"the same in the {shared} logs that both have; the earlier run ({earlier.status}) has {len(before)}"
    return Compared(False, text)


class _Span(NamedTuple):
    """The frames that a log covers: those since the previous log of its kind, training or evaluation."""

    is_evaluation: bool
    start: int
    stop: int


def _frames(logs: Iterable[_Span], is_evaluation: bool) -> set[int]:
    """The frames at which the logs of one kind end."""
    return {span.stop for span in logs if span.is_evaluation is is_evaluation}


def _logs(run: RunFolder) -> dict[_Span, dict[str, Any]]:
    """The logs without times, by the frames that they cover."""
    found: dict[_Span, dict[str, Any]] = {}
    ends = {False: 0, True: 0}
    for log in run.metrics:
        is_evaluation = any(key.startswith("eval/") for key in log)
        found[_Span(is_evaluation, ends[is_evaluation], log["frames"])] = {
            key: value for key, value in log.items() if not _is_time(key)
        }
        ends[is_evaluation] = log["frames"]
    return found


def _is_time(key: str) -> bool:
    return key.startswith("time/") and key != "time/updates"


def _versions(run: RunFolder) -> dict[str, Any]:
    return run.manifest.get("versions", {}) | {"revision": (run.manifest.get("git") or {}).get("revision")}


def _folder(config: DictConfig, chosen: Path | None) -> Path:
    if chosen is not None:
        if not is_unused(chosen):
            raise UserError(f"--dir: '{chosen}' exists and is not an empty folder; choose another")
        return new_folder(chosen, is_stamped=False)
    now = datetime.now()
    name = f"{now:%H-%M-%S}-{config.name}-s{config.seed}"
    return new_folder((OUTPUTS / f"{now:%Y-%m-%d}" / name).absolute(), is_stamped=True)
