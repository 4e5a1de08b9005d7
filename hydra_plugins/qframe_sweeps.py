"""qframe's sweepers and launchers, where Hydra looks for plugins.

Hydra imports this file whenever it starts, so what a sweep needs is imported when there is one.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn
from hydra.plugins.launcher import Launcher
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig


class GridSweeper(Sweeper):
    """Every combination of the values given; launched again, it goes on where it was.

    Args:
        params: what is swept over besides the command line, as ``{"seed": "1,2"}``.
        zip: keys that vary together instead of being combined.
        retries: how often a failed job is tried again in one launch.
        objective: ``best``, ``final`` or ``area``, for the table.
    """

    def __init__(
        self,
        *,
        params: Mapping[str, Any] | None = None,
        zip: Sequence[Any] = (),
        retries: int = 0,
        objective: str = "best",
    ) -> None:
        self.params, self.zip, self.retries, self.objective = params, zip, retries, objective

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Take what Hydra gives."""
        self.hydra_context, self.config, self.task_function = hydra_context, config, task_function
        self.launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    def sweep(self, arguments: list[str]) -> None:
        """Run the jobs that are left."""
        from qframe.cli.jobs.folder import SweepFolder
        from qframe.cli.jobs.grid import launch, parameters, zipped
        from qframe.config.grid import grid

        assert self.hydra_context is not None
        assert self.config is not None
        assert self.launcher is not None
        loader, folder = self.hydra_context.config_loader, SweepFolder(Path(self.config.hydra.sweep.dir))
        numbered = folder.numbered(grid(arguments, parameters(self.config), zipped(self.config), loader))
        folder.write_jobs(numbered)
        trust = getattr(self.task_function, "trust", ())
        launch(numbered, folder, launcher=self.launcher, loader=loader, trust=trust, retries=self.retries)


class JobLauncher(Launcher):
    """A launcher by one of qframe's engines."""

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Take what Hydra gives."""
        self.hydra_context, self.config, self.task_function = hydra_context, config, task_function

    def engine(self, *, needs: Any, say: Callable[[str], None]) -> Any:
        """Where the jobs run.

        Args:
            needs: threads and GPU of a job.
            say: tells how many run at once.
        """
        raise NotImplementedError

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Run a batch of jobs for a sweeper that is not qframe's."""
        from qframe.cli.jobs.batch import launch_batch

        return launch_batch(self, job_overrides, initial_job_idx)


class LocalLauncher(JobLauncher):
    """One process per job on this machine, several at once.

    Args:
        jobs: at once; None for as many as there are cores for.
    """

    def __init__(self, *, jobs: int | None = None) -> None:
        self.jobs = jobs

    def engine(self, *, needs: Any, say: Callable[[str], None]) -> Any:
        """Processes, as many at once as cores allow."""
        from qframe.cli.jobs.local import local_engine

        return local_engine(self.jobs, needs=needs, say=say)
