"""qframe's sweepers and launchers, where Hydra looks for plugins.

Hydra imports this file whenever it starts, so modules that only a sweep needs are imported inside the methods.
"""

import importlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn
from hydra.plugins.launcher import Launcher
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig


def require(package: str, *, extra: str) -> None:
    """Check that an optional package is installed.

    Args:
        package: to import.
        extra: the extra of qframe that installs it.

    Raises:
        UserError: it cannot be imported.
    """
    from qframe.errors import UserError
    from qframe.formatting import install_command

    try:
        importlib.import_module(package)
    except ImportError as error:
        message = f"this needs the package '{package}', which cannot be imported ({error})"
        raise UserError(f"{message}; {install_command(extra)}") from error


class JobSweeper(Sweeper):
    """A sweeper whose jobs are runs of qframe."""

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Keep Hydra's context, configuration and launcher."""
        self.hydra_context, self.config = hydra_context, config
        self.folder, self.loader = Path(config.hydra.sweep.dir), hydra_context.config_loader
        self.trust: tuple[str, ...] = getattr(task_function, "trust", ())
        self.job_launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )


class GridSweeper(JobSweeper):
    """Runs every combination of the values given; launched again, it continues with the jobs that are left.

    Args:
        params: values to sweep over besides the command line, as ``{"seed": "1,2"}``.
        zip: keys that vary together instead of being combined.
        retries: how often a failed job is tried again in one launch.
        objective: ``best``, ``final`` or ``area``, shown in the table.
    """

    def __init__(self, *, params: Mapping[str, Any] | None, zip: Sequence[Any], retries: int, objective: str) -> None:
        self.params, self.zip, self.retries, self.objective = params, zip, retries, objective

    def sweep(self, arguments: list[str]) -> None:
        """Run the jobs that are left."""
        from qframe.sweeps.folder import SweepFolder
        from qframe.sweeps.grid import launch, parameters, zipped
        from qframe.sweeps.job_spec import SpecMaker
        from qframe.sweeps.parameter_grid import grid

        assert self.config is not None
        folder = SweepFolder(self.folder)
        jobs = grid(arguments, parameters(self.config), zipped(self.config), self.loader)
        numbered = folder.numbered(jobs)
        folder.write_jobs(numbered)
        spec = SpecMaker(folder, self.loader, self.trust)
        launch(numbered, folder, launcher=self.job_launcher, spec=spec, retries=self.retries)


class OptunaSweeper(JobSweeper):
    """Runs trials that Optuna proposes and prunes; launched again, it continues to the same total of trials.

    Args:
        params: the space, in Hydra's grammar.
        mean_over: keys whose values are all run in every trial.
        options: number of ``trials``, ``objective``, ``sampler`` and its ``seed``, ``pruner`` and its
            ``startup_trials``, ``retries`` of a failed job, ``storage``, ``study`` and ``heartbeat`` in seconds.
    """

    def __init__(self, *, params: Mapping[str, Any] | None, mean_over: Sequence[str], **options: Any) -> None:
        self.params, self.mean_over, self.options = params, mean_over, options

    def sweep(self, arguments: list[str]) -> None:
        """Run trials up to the number requested."""
        from qframe.sweeps.folder import SweepFolder
        from qframe.sweeps.grid import parameters
        from qframe.sweeps.job_spec import SpecMaker

        assert self.config is not None
        require("optuna", extra="optuna")
        from qframe.sweeps.optuna_search import search
        from qframe.sweeps.search_space import space

        folder = SweepFolder(self.folder)
        found = space(arguments, parameters(self.config), list(self.mean_over), self.loader)
        spec = SpecMaker(folder, self.loader, self.trust)
        search(found, folder, launcher=self.job_launcher, spec=spec, options=self.options)


class JobLauncher(Launcher):
    """A launcher that runs jobs on one of qframe's engines."""

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Keep Hydra's context, configuration and task function."""
        self.hydra_context, self.config, self.task_function = hydra_context, config, task_function

    def engine(self, *, needs: Any, say: Callable[[str], None]) -> Any:
        """The engine that runs the jobs.

        Args:
            needs: threads and GPU of a job.
            say: prints how many run at once.
        """
        raise NotImplementedError

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Run a batch of jobs for a sweeper that is not qframe's."""
        from qframe.sweeps.grid import launch_batch

        return launch_batch(self, job_overrides, initial_job_idx)


class LocalLauncher(JobLauncher):
    """Runs jobs as processes of this machine, several at once.

    Args:
        jobs: at once; None for as many as the cores allow.
    """

    def __init__(self, *, jobs: int | None = None) -> None:
        self.jobs = jobs

    def engine(self, *, needs: Any, say: Callable[[str], None]) -> Any:
        """Processes of this machine, as many at once as its cores allow."""
        from qframe.sweeps.engines.local import local_engine

        return local_engine(self.jobs, needs=needs, say=say)


class RayLauncher(JobLauncher):
    """Runs jobs as tasks of a Ray cluster.

    Args:
        address: of the cluster; None starts one on this machine.
        jobs: at once; None for as many as the cluster's cores allow.
        gpus: per job; a fraction shares one.
    """

    def __init__(self, *, address: str | None, jobs: int | None, gpus: float) -> None:
        self.address, self.jobs, self.gpus = address, jobs, gpus

    def engine(self, *, needs: Any, say: Callable[[str], None]) -> Any:
        """The Ray cluster."""

        require("ray", extra="ray")
        from qframe.sweeps.engines.ray import RayEngine

        return RayEngine(self.address, self.jobs, needs=needs, gpus=self.gpus, say=say)


class SubmititLauncher(JobLauncher):
    """Runs jobs in a queue, through submitit.

    Args:
        cluster: ``slurm`` or ``local``.
        jobs: in the queue at once; None for as many as this machine's cores allow.
        parameters: of the queue, by submitit's names.
    """

    def __init__(self, *, cluster: str, jobs: int | None, parameters: Mapping[str, Any]) -> None:
        self.cluster, self.jobs, self.parameters = cluster, jobs, parameters

    def engine(self, *, needs: Any, say: Callable[[str], None]) -> Any:
        """The queue."""

        require("submitit", extra="submitit")
        from qframe.sweeps.engines.submitit import SubmititEngine

        folder = Path(self.config.hydra.sweep.dir) / "submitit"
        given = {str(key): value for key, value in self.parameters.items() if value is not None}
        return SubmititEngine(self.cluster, self.jobs, folder=folder, needs=needs, parameters=given, say=say)
