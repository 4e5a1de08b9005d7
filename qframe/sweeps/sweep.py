"""Launching a sweep: check it as a whole, record how to launch it again, run its jobs, and print their table."""

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra._internal.hydra import Hydra
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from qframe.config import build
from qframe.config.compose import Composition, composed, pinned_folder, read
from qframe.config.hydra_app import CONFIG_NAME, content, file_name, hydra_app
from qframe.config.hydra_keys import checked_record, ignored_in_sweep
from qframe.config.targets import apply_trust
from qframe.errors import ConfigError, UserError
from qframe.formatting import format_path
from qframe.runs.folder import new_folder, read_json, write_json
from qframe.runs.swept import Swept
from qframe.sweeps.folder import SweepFolder, output_folder
from qframe.sweeps.grid import parameters, zipped
from qframe.sweeps.job import Job
from qframe.sweeps.job_spec import MOST_CHECKED, composition
from qframe.sweeps.objective import check_objective
from qframe.sweeps.parameter_grid import grid, samples
from qframe.sweeps.results_table import print_results

SLOW = 30
"""Jobs from which the time to compose them, some 15 ms each, is announced."""


def launch(app: Hydra, composed: Composition, record: dict[str, Any]) -> int:
    """Run all jobs with Hydra's sweeper and launcher, then print the table of results.

    Args:
        app: Hydra on qframe's configuration.
        composed: the config without the values that are swept over.
        record: the arguments that launch this sweep again: ``overrides`` as typed, ``config_dir`` and ``trust``.

    Returns:
        0; 1 if a job failed; 2 if every job was refused.

    Raises:
        ConfigError: a key or option is unknown in some job, or every job has faults.
    """
    path, is_stamped = output_folder(composed, "sweep")
    folder = SweepFolder(path)
    if folder.record.is_file() and not is_stamped:
        with folder.lock:  # first: a sweep that is running is reported before its jobs are composed
            _check(app, composed, record["overrides"])
            return _run(app, composed, folder, record)
    _check(app, composed, record["overrides"])
    folder = SweepFolder(new_folder(path, is_stamped=is_stamped))
    with folder.lock:
        return _run(app, composed, folder, record)


def _run(app: Hydra, composed: Composition, folder: SweepFolder, record: dict[str, Any]) -> int:
    is_new = not folder.record.is_file()
    write_json(folder.record, record)
    overrides = [*composed.overrides, pinned_folder("sweep", folder.path), "hydra.mode=MULTIRUN"]
    try:
        app.multirun(CONFIG_NAME, Job(tuple(record["trust"]), record["config_dir"]), overrides)
    except UserError:
        if is_new and not folder.summaries():  # no job has started
            shutil.rmtree(folder.path)
        raise
    finally:
        statuses = print_results(folder, _objective(composed)) if folder.path.is_dir() else []
    if "failed" in statuses:
        return 1
    return 2 if statuses and all(status == "refused" for status in statuses) else 0


def relaunch(path: Path, overrides: Sequence[str], trust: Sequence[str]) -> int:
    """Launch a sweep again in its folder, with the overrides of its record and further ones; see :func:`launch`."""
    record = read_json(SweepFolder(path).record)
    keys = {override.partition("=")[0] for override in (*overrides, "hydra.sweep.dir=")}
    kept = [text for text in record.get("overrides", []) if text.partition("=")[0] not in keys]
    checked_record(kept, record.get("trust", []), trust)
    apply_trust(trust)
    config_dir = Path(record["config_dir"]) if record.get("config_dir") else None
    typed = [*kept, *overrides, pinned_folder("sweep", path.absolute())]
    with hydra_app(config_dir) as app:
        composition = composed(app.config_loader, typed, build.PROVIDED, mode=RunMode.MULTIRUN)
        return launch(app, composition, record_of(typed, config_dir, trust))


def record_of(overrides: Sequence[str], config_dir: Path | None, trust: Sequence[str]) -> dict[str, Any]:
    """The arguments that launch a sweep again, as written to ``sweep.json``."""
    own = config_dir and str(config_dir.expanduser().resolve())
    return {"overrides": list(overrides), "config_dir": own, "trust": list(trust)}


def print_plan(app: Hydra, composed: Composition, texts: Sequence[str]) -> int:
    """Print what launching the sweep would do, job by job; nothing is written.

    Raises:
        ConfigError: as :func:`launch` does.
        UserError: the sweeper does not know its jobs in advance.
    """
    path, _ = output_folder(composed, "sweep")
    _check(app, composed, texts)
    if not _is_grid(composed):
        sweeper = str(composed.hydra.sweeper["_target_"]).rpartition(".")[2]
        raise UserError(f"--dry-run: {sweeper} does not know its jobs in advance; use hydra/sweeper=grid")
    config, folder = _whole(composed), SweepFolder(path)
    jobs = folder.numbered(grid(_of_jobs(composed), parameters(config), zipped(config), app.config_loader))
    swept = Swept.among(jobs.values())
    width = max(len(swept.text(overrides)) for overrides in jobs.values())
    for number, overrides in jobs.items():
        faults = composition(app.config_loader, overrides).faults
        plan = f"refused: {faults[0]}" if faults else folder.plan(number)
        print(f"{number:>4}  {swept.text(overrides):<{width}}  {plan}")
    print(f"{len(jobs)} {'job' if len(jobs) == 1 else 'jobs'} in {format_path(path)}; nothing was started")
    return 0


def _check(app: Hydra, composed: Composition, texts: Sequence[str]) -> None:
    """Refuse a sweep in which no job could run: with an unknown name anywhere, or with faults in every job."""
    loader, config = app.config_loader, _whole(composed)
    check_objective(_objective(composed))
    swept = (_of_jobs(composed), parameters(config), zipped(config))
    listed = list(samples(*swept, loader, most=MOST_CHECKED, with_intervals=not _is_grid(composed)))
    if len(listed) >= SLOW:
        print(f"checking the configs of {len(listed)} jobs", flush=True)
    jobs = [composition(loader, overrides) for overrides in listed]
    faults_of_jobs = [job.faults for job in jobs]
    paths = dict.fromkeys(path for job in jobs for path in job.files if path not in composed.files)
    presets = [(path, file_name(loader, path), content(loader, path, package)) for path, package in paths]
    every = [
        *read(texts, loader, sweep=True).faults,
        *(fault for fault in composed.faults if fault.where.startswith("hydra")),
        *ignored_in_sweep(presets, composed.keys),
        *(fault for faults in faults_of_jobs for fault in faults),
    ]
    unknown = [fault for fault in every if fault.unknown]
    if unknown or all(faults_of_jobs):
        raise ConfigError(unknown or every)


def _of_jobs(composed: Composition) -> list[str]:
    """The overrides without Hydra's own."""
    return [text for text in composed.overrides if not text.lstrip("+~").startswith("hydra")]


def _objective(composed: Composition) -> str:
    return composed.hydra.sweeper.get("objective", "best")


def _is_grid(composed: Composition) -> bool:
    return str(composed.hydra.sweeper["_target_"]).endswith(("GridSweeper", "BasicSweeper"))


def _whole(composed: Composition) -> DictConfig:
    return OmegaConf.create({"hydra": composed.hydra})
