"""``qframe train``: check the whole config first, then train; a sweep's jobs are started by Hydra's launcher."""

import argparse
from pathlib import Path
from typing import Any

from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from qframe.cli.arguments import add_config_arguments
from qframe.cli.resumable import begun_before, go_on, without_resume
from qframe.cli.sweep import planned, sweep
from qframe.config import build
from qframe.config.compose import Composition, composed, pinned_folder
from qframe.config.hydra_app import hydra_app
from qframe.config.hydra_keys import checked_record, inside
from qframe.config.saved_run import new_folder
from qframe.config.targets import apply_trust
from qframe.errors import ConfigError, Fault, UserError
from qframe.runs.folder import read_json
from qframe.sweeps.folder import SweepFolder
from qframe.sweeps.job import Job


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Overrides, ``-m``, ``--config-dir`` and ``--trust``."""
    text = "sweep: run every combination of the values given as key=a,b"
    parser.add_argument("-m", "--multirun", action="store_true", help=text)
    text = "with -m: only show the jobs, and what launching would do with each"
    parser.add_argument("--dry-run", action="store_true", help=text)
    add_config_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    """Train one run or a sweep; with ``resume=auto`` go on with the run that the same command has begun, if any.

    Raises:
        UserError: the config has faults; nothing was written.
    """
    apply_trust(arguments.trust)
    arguments.overrides, goes_on = without_resume(arguments.overrides)
    with hydra_app(arguments.config_dir) as app:
        mode = RunMode.MULTIRUN if arguments.multirun else RunMode.RUN
        composition = composed(app.config_loader, arguments.overrides, build.PROVIDED, mode=mode)
        if mode is RunMode.RUN and composition.hydra.mode is RunMode.MULTIRUN:  # a preset that is a sweep
            composition = composed(app.config_loader, arguments.overrides, build.PROVIDED, mode=RunMode.MULTIRUN)
            mode = RunMode.MULTIRUN
        if mode is RunMode.MULTIRUN:
            if goes_on:
                raise UserError("resume=auto: expected a single run, got a sweep, which goes on by qframe resume SWEEP")
            folder, is_stamped = _folder(composition, "sweep")
            if arguments.dry_run:
                return planned(app, composition, arguments.overrides, folder)
            job = Job(tuple(arguments.trust))
            return sweep(app, composition, _record(arguments), job, folder, is_stamped=is_stamped)
        if arguments.dry_run:
            raise UserError("--dry-run: expected a sweep (-m), got a single run; use qframe check")
    return _single(composition, arguments.started, goes_on=goes_on)


def relaunch(arguments: argparse.Namespace) -> int:
    """Go on with a sweep: launch it again in its folder, with the overrides that it was launched with and more.

    Args:
        arguments: ``run``, the sweep's folder; ``overrides`` to add; ``trust``; ``started``.
    """
    record = read_json(SweepFolder(arguments.run).record)
    overrides = [text for text in record.get("overrides", []) if not text.startswith("hydra.sweep.dir=")]
    given = {override.partition("=")[0] for override in arguments.overrides}
    kept = [text for text in overrides if text.partition("=")[0] not in given]
    arguments.overrides = [*kept, *arguments.overrides, pinned_folder("sweep", arguments.run.absolute())]
    arguments.config_dir = Path(record["config_dir"]) if record.get("config_dir") else None
    checked_record(kept, record.get("trust", []), arguments.trust)
    arguments.multirun, arguments.dry_run = True, False
    return run(arguments)


def _record(arguments: argparse.Namespace) -> dict[str, Any]:
    """What launches the sweep again."""
    own = arguments.config_dir and str(arguments.config_dir.expanduser().resolve())
    return {"overrides": list(arguments.overrides), "config_dir": own, "trust": list(arguments.trust)}


def _single(composition: Composition, started: float, *, goes_on: bool) -> int:
    swept = composition.hydra.sweeper.get("params")
    unasked = [Fault("hydra.sweeper.params", f"this config sweeps over {', '.join(swept)}; add -m")] if swept else []
    if unasked:
        raise ConfigError([*composition.faults, *unasked])
    assembly = build.checked(composition.config, composition.faults)
    before = begun_before(composition) if goes_on else None
    if before is not None and before.summary.get("status") == "finished":
        print(f"finished already: {before.path}; without resume=auto another run starts")
        return 0
    if before is not None and before.has_checkpoint:
        return go_on(before, started=started)
    path, is_stamped = (before.path, False) if before is not None else _folder(composition, "run")
    folder = new_folder(path, is_stamped=is_stamped)
    try:
        runner = build.build(assembly, folder, started=started)
    except Exception as error:
        if not any(folder.iterdir()):
            folder.rmdir()
        if isinstance(error, ValueError):
            raise UserError(str(error)) from error
        raise
    runner.run()
    return 0


def _folder(composition: Composition, kind: str) -> tuple[Path, bool]:
    """Where the run or sweep will be written, and whether its name is the time; the folder is not made.

    Raises:
        UserError: something is in it already, or its name leads nowhere.
    """
    whole = OmegaConf.create({**composition.config, "hydra": composition.hydra})
    assert isinstance(whole, DictConfig)
    try:
        folder = Path(str(whole.hydra[kind].dir)).absolute()
    except OmegaConfBaseException as error:
        raise ConfigError([Fault(f"hydra.{kind}.dir", str(error).splitlines()[0])]) from error
    inside(folder, f"hydra.{kind}.dir", composition.keys)
    raw = OmegaConf.to_container(composition.hydra[kind], resolve=False)
    is_stamped = isinstance(raw, dict) and "${now:" in str(raw["dir"])
    if is_stamped:
        return folder, True
    if kind == "sweep" and SweepFolder(folder).record.is_file():
        return folder, False
    if (folder.exists() and not folder.is_dir()) or (folder.is_dir() and any(folder.iterdir())):
        remedy = "go on with it by qframe resume" if (folder / "config.yaml").is_file() else "choose another"
        raise UserError(f"hydra.{kind}.dir: expected a new or empty folder, got '{folder}'; {remedy}")
    return folder, False
