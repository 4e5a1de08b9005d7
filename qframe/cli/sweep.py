"""``qframe train -m``: what no job can run with stops the sweep, what one job cannot is skipped; then one table."""

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra._internal.hydra import Hydra
from omegaconf import DictConfig, OmegaConf

from qframe.config.compose import Composition, pinned_folder
from qframe.config.grid import grid, samples
from qframe.config.hydra_app import CONFIG_NAME, short
from qframe.config.saved_run import new_folder
from qframe.errors import ConfigError, Fault, UserError
from qframe.runs.folder import read_json, write_json
from qframe.sweeps.folder import SweepFolder
from qframe.sweeps.grid import parameters, zipped
from qframe.sweeps.job import DONE, OBJECTIVE, Job
from qframe.sweeps.objective import check_objective, objective
from qframe.sweeps.progress_board import results, screen, varied_among
from qframe.sweeps.spec import MOST_CHECKED, composition


def sweep(app: Hydra, composed: Composition, record: dict[str, Any], job: Job, path: Path, *, is_stamped: bool) -> int:
    """Run all jobs by Hydra's sweeper and launcher, then print one table.

    Args:
        app: Hydra on qframe's configuration.
        composed: the config without the values that are swept over.
        record: what launches this sweep again: its ``overrides`` as typed, ``config_dir`` and ``trust``.
        job: the task function.
        path: where the jobs' folders go.
        is_stamped: its name is the time.

    Returns:
        0; 1 when a job failed; 2 when every job was refused.

    Raises:
        ConfigError: a key or option is unknown in some job, or every job has faults.
    """
    _check(app, composed, record["overrides"])
    folder = SweepFolder(new_folder(path, is_stamped=is_stamped))
    with folder.locked():
        is_new = not folder.record.is_file()
        write_json(folder.record, record)
        overrides = [*composed.overrides, pinned_folder("sweep", folder.path), "hydra.mode=MULTIRUN"]
        try:
            app.multirun(CONFIG_NAME, job, overrides)
        except UserError:
            if is_new and not any(folder.path.glob("*/summary.json")):  # no job has started
                shutil.rmtree(folder.path)
            raise
        finally:
            statuses = _tell(folder, composed.hydra.sweeper.get("objective", "best")) if folder.path.is_dir() else []
    if "failed" in statuses:
        return 1
    return 2 if statuses and all(status == "refused" for status in statuses) else 0


def planned(app: Hydra, composed: Composition, texts: Sequence[str], path: Path) -> int:
    """Print what launching the sweep would do, job by job; nothing is written.

    Raises:
        ConfigError: as when it is launched.
        UserError: the jobs of this sweeper are not known beforehand.
    """
    _check(app, composed, texts)
    if not _is_grid(composed):
        sweeper = str(composed.hydra.sweeper["_target_"]).rpartition(".")[2]
        raise UserError(f"--dry-run: expected a sweeper that knows its jobs beforehand, got {sweeper}; use grid")
    config, folder = _whole(composed), SweepFolder(path)
    jobs = folder.numbered(grid(_typed(composed), parameters(config), zipped(config), app.config_loader))
    varied = varied_among(jobs.values())
    width = max(len(" ".join(varied(overrides))) for overrides in jobs.values())
    for number, overrides in jobs.items():
        faults = composition(app.config_loader, overrides).faults
        standing = f"refused: {faults[0]}" if faults else folder.standing(number)
        print(f"{number:>4}  {' '.join(varied(overrides)):<{width}}  {standing}")
    print(f"{len(jobs)} {'job' if len(jobs) == 1 else 'jobs'} in {short(path)}; nothing was started")
    return 0


def _check(app: Hydra, composed: Composition, texts: Sequence[str]) -> None:
    """Refuse the sweep for what no job could run with: unknown names anywhere, or faults in every job."""
    loader, config = app.config_loader, _whole(composed)
    check_objective(composed.hydra.sweeper.get("objective", "best"))
    is_search = not _is_grid(composed)
    swept = (list(texts), parameters(config), zipped(config))
    listed = samples(*swept, loader, most=MOST_CHECKED, with_intervals=is_search)
    faults_of_jobs: list[Sequence[Fault]] = [composition(loader, overrides).faults for overrides in listed]
    every = [fault for faults in faults_of_jobs for fault in faults]
    unknown = [fault for fault in every if fault.unknown]
    if unknown or all(faults_of_jobs):
        raise ConfigError(unknown or every)


def _is_grid(composed: Composition) -> bool:
    return str(composed.hydra.sweeper["_target_"]).endswith(("GridSweeper", "BasicSweeper"))


def _whole(composed: Composition) -> DictConfig:
    return OmegaConf.create({"hydra": composed.hydra})


def _typed(composed: Composition) -> list[str]:
    return [text for text in composed.overrides if not text.lstrip("+~").startswith("hydra")]


def _tell(folder: SweepFolder, name: str) -> list[str]:
    """Print the table of all jobs that have started, and how to go on; the status of every job."""
    found = {path.parent: read_json(path) for path in folder.path.glob("*/summary.json")}
    summaries = dict(sorted(found.items(), key=lambda item: (len(item[0].name), item[0].name)))
    every = folder.earlier()
    if summaries:
        varied = varied_among([*every.values()] or [summary.get("overrides", []) for summary in summaries.values()])
        objectives = {path: objective(path, name) for path in summaries}
        title = {"best": OBJECTIVE, "final": "eval_return_last", "area": "eval_return_area"}[name]
        screen().print(results(summaries, varied, objectives, title))
    left = [number for number in every if folder.summary(number).get("status") not in (*DONE, "refused")]
    told = f"; {len(left)} of {len(every)} jobs are left: qframe resume {short(folder.path)}" if left else ""
    print(f"sweep folder  {short(folder.path)}{told}")
    return [str(summary.get("status", "unknown")) for summary in summaries.values()]
