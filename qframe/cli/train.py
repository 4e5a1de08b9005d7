"""``qframe train``: check the whole config, then train one run, or with ``-m`` launch a sweep."""

import argparse
import gc
import glob
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from qframe.config.compose import Composition, composed
from qframe.config.hydra_app import hydra_app
from qframe.config.hydra_keys import of_other_mode
from qframe.config.schema import PROVIDED
from qframe.config.targets import apply_trust
from qframe.errors import ConfigError, Fault, UserError
from qframe.runs.folder import RunFolder, new_folder
from qframe.sweeps.folder import output_folder

ANY_TIME = "any-time"
"""Stands for the time in the folder of a run."""


def run(arguments: argparse.Namespace) -> int:
    """Train one run or a sweep; with ``resume=auto`` resume the run that the same command started earlier, if any.

    ``arguments.folder`` is the folder of a single run afterwards.

    Raises:
        UserError: the config has faults; nothing was written.
    """
    apply_trust(arguments.trust)
    overrides, is_resumed = without_resume(arguments.overrides)
    with hydra_app(arguments.config_dir) as app:
        mode = RunMode.MULTIRUN if arguments.multirun else RunMode.RUN
        if arguments.config is not None:
            from qframe.config.saved_run import composed_from  # not at the top: see typos.py

            if mode is RunMode.MULTIRUN:
                raise UserError("--config starts a single run; put its changes into a preset to sweep over it")
            composition = composed_from(app.config_loader, arguments.config, overrides)
        else:
            with no_garbage():
                composition = composed(app.config_loader, overrides, PROVIDED, mode=mode)
        if mode is RunMode.RUN and composition.hydra.mode is RunMode.MULTIRUN:  # a preset that is a sweep
            composition = composed(app.config_loader, overrides, PROVIDED, mode=RunMode.MULTIRUN)
            mode = RunMode.MULTIRUN
        faults = of_other_mode(composition.keys, composition.hydra.mode, is_sweep=mode is RunMode.MULTIRUN)
        if faults:
            raise ConfigError([*composition.faults, *faults])
        if mode is RunMode.MULTIRUN:
            from qframe.sweeps.sweep import launch, print_plan, record_of  # not at the top: see typos.py

            if is_resumed:
                raise UserError("resume=auto is for single runs; resume a sweep by qframe resume SWEEP")
            if arguments.dry_run:
                return print_plan(app, composition, overrides)
            return launch(app, composition, record_of(overrides, arguments.config_dir, arguments.trust))
    if arguments.dry_run:
        raise UserError("--dry-run is for sweeps (-m); to check a single run, use qframe check")
    if swept := composition.hydra.sweeper.get("params"):
        fault = Fault("hydra.sweeper.params", f"this config sweeps over {', '.join(swept)}; add -m")
        raise ConfigError([*composition.faults, fault])
    with no_garbage():
        from qframe.cli.resume import resume_run  # not at the top: see typos.py
        from qframe.config import build

    assembly = build.Assembly(composition.config, composition.faults, builds=False)
    earlier = earlier_run(composition, assembly.config) if is_resumed and not assembly.faults else None
    arguments.folder = earlier and earlier.path
    if earlier is not None and earlier.summary.get("status") == "finished":
        print(f"{earlier.path} is finished already; without resume=auto, a new run starts")
        return 0
    if earlier is not None and earlier.has_checkpoint:
        return resume_run(earlier, started=arguments.started)
    assembly.build_parts()
    assembly.checked()
    path, is_stamped = (earlier.path, False) if earlier is not None else output_folder(composition, "run")
    arguments.folder = folder = new_folder(path, is_stamped=is_stamped)
    try:
        runner = build.build(assembly, folder, started=arguments.started)
    except Exception as error:
        if not any(folder.iterdir()):
            folder.rmdir()
        if isinstance(error, ValueError):
            raise UserError(str(error)) from error
        raise
    runner.run()
    return 0


@contextmanager
def no_garbage() -> Iterator[None]:
    """Do not look for garbage: modules that are imported leave none, and looking takes a fifth of the time."""
    imports = "torch" not in sys.modules
    gc.disable()
    try:
        yield
    finally:
        if imports:
            gc.freeze()  # their objects stay, and are not looked through later
        gc.enable()


def without_resume(overrides: Sequence[str]) -> tuple[list[str], bool]:
    """The overrides without ``resume=auto``, and whether it was among them.

    Raises:
        UserError: another value of ``resume``.

    >>> without_resume(["seed=1", "resume=auto"])
    (['seed=1'], True)
    """
    given = [text for text in overrides if text.partition("=")[0] == "resume"]
    if wrong := [text for text in given if text != "resume=auto"]:
        raise UserError(f"'{wrong[0]}': only resume=auto is known; to resume a given run, use qframe resume RUN")
    return [text for text in overrides if text not in given], bool(given)


def earlier_run(composition: Composition, config: dict[str, Any]) -> RunFolder | None:
    """The newest run of this same config in the folders that the command writes to.

    Args:
        composition: of the command.
        config: its config with a value in place of every ``auto``.
    """
    whole = OmegaConf.create({**composition.config, "hydra": composition.hydra})
    raw = OmegaConf.to_container(composition.hydra.run, resolve=False)
    assert isinstance(whole, DictConfig)
    assert isinstance(raw, dict)
    whole.hydra.run.dir = re.sub(r"\$\{now:[^}]*\}", ANY_TIME, str(raw["dir"]))
    path = glob.escape(str(Path(str(whole.hydra.run.dir)).absolute()))
    paths = map(Path, glob.glob(f"{path.replace(ANY_TIME, '*')}*" if ANY_TIME in path else path))
    same = [run for run in map(RunFolder, paths) if run.config == config]
    return max(same, key=lambda run: run.config_file.stat().st_mtime, default=None)
