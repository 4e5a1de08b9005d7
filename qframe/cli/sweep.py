"""The jobs of ``qframe train -m``: what no job can run with stops the sweep, what one job cannot is skipped."""

import sys
from pathlib import Path
from typing import Any

from hydra._internal.hydra import Hydra
from omegaconf import OmegaConf
from rich.console import Console
from rich.table import Table

from qframe.cli.job import OBJECTIVE, Job
from qframe.cli.run_folder import new_folder
from qframe.config import build
from qframe.config.compose import Composition, composed
from qframe.config.errors import ConfigError, Fault
from qframe.config.hydra_app import CONFIG_NAME, short
from qframe.config.overrides import jobs, pinned_folder
from qframe.runner.run_folder import read_json


def sweep(app: Hydra, composition: Composition, texts: list[str], job: Job, path: Path, *, is_stamped: bool) -> int:
    """Run all jobs by Hydra's sweeper and launcher, then print one table.

    Args:
        app: Hydra on qframe's configuration.
        composition: the config without the values that are swept over.
        texts: the overrides as typed.
        job: the task function.
        path: where the jobs' folders go.
        is_stamped: its name is the time.

    Returns:
        0; 1 when a job failed; 2 when every job was refused.

    Raises:
        ConfigError: a key or option is unknown in some job, or every job has faults.
    """
    _check(app, composition, texts)
    folder = new_folder(path, is_stamped=is_stamped)
    try:
        app.multirun(CONFIG_NAME, job, [*composition.overrides, pinned_folder("sweep", folder), "hydra.mode=MULTIRUN"])
    finally:
        summaries = _summaries(folder)
        if summaries:
            _print_table(summaries)
    statuses = [summary.get("status") for summary in summaries.values()]
    if "failed" in statuses:
        return 1
    return 2 if statuses and all(status == "refused" for status in statuses) else 0


def _check(app: Hydra, composition: Composition, texts: list[str]) -> None:
    """Refuse the sweep for what no job could run with: unknown names anywhere, or faults in every job."""
    loader = app.config_loader
    params = OmegaConf.to_container(composition.hydra.sweeper.get("params") or OmegaConf.create({}), resolve=True)
    assert isinstance(params, dict)
    listed = [f"{key}={value}" for key, value in params.items()]
    faults_of_jobs: list[list[Fault]] = []
    for overrides in jobs(texts, listed, loader):
        faults_of_jobs.append(composed(loader, overrides, build.PROVIDED).faults)
    every = [fault for faults in faults_of_jobs for fault in faults]
    unknown = [fault for fault in every if fault.unknown]
    if unknown or all(faults_of_jobs):
        raise ConfigError(unknown or every)


def _summaries(folder: Path) -> dict[Path, dict[str, Any]]:
    """What each job's ``summary.json`` says, by folder, in the jobs' order."""
    files = sorted(folder.glob("*/summary.json"), key=lambda file: (len(file.parent.name), file.parent.name))
    return {file.parent: read_json(file) for file in files}


def _print_table(summaries: dict[Path, dict[str, Any]]) -> None:
    table = Table("job", "overrides", "status", OBJECTIVE, "folder")
    for folder, summary in summaries.items():
        score = summary.get(OBJECTIVE)
        shown = "–" if score is None else f"{score:.2f}"
        overrides = " ".join(summary.get("overrides", []))
        table.add_row(folder.name, overrides, str(summary.get("status", "unknown")), shown, short(folder))
    Console(width=None if sys.stdout.isatty() else 200).print(table)
