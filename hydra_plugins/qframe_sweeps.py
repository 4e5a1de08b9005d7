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


class JobSweeper(Sweeper):
    """A sweeper whose jobs are runs of qframe."""

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Take what Hydra gives."""
        self.hydra_context, self.config = hydra_context, config
        self.folder, self.loader = Path(config.hydra.sweep.dir), hydra_context.config_loader
        self.trust: tuple[str, ...] = getattr(task_function, "trust", ())
        self.job_launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )


class GridSweeper(JobSweeper):
    """Every combination of the values given; launched again, it goes on where it was.

    Args:
        params: what is swept over besides the command line, as ``{"seed": "1,2"}``.
        zip: keys that vary together instead of being combined.
        retries: how often a failed job is tried again in one launch.
        objective: ``best``, ``final`` or ``area``, for the table.
    """

    def __init__(
        self, *, params: Mapping[str, Any] | None, zip: Sequence[Any], retries: int, objective: str
    ) -> None:
        self.params, self.zip, self.retries, self.objective = params, zip, retries, objective

    def sweep(self, arguments: list[str]) -> None:
        """Run the jobs that are left."""
        from qframe.config.grid import grid
        from qframe.sweeps.folder import SweepFolder
        from qframe.sweeps.grid import launch, parameters, zipped
        from qframe.sweeps.spec import SpecMaker

        assert self.config is not None
        folder = SweepFolder(self.folder)
        jobs = grid(arguments, parameters(self.config), zipped(self.config), self.loader)
        numbered = folder.numbered(jobs)
        folder.write_jobs(numbered)
        spec = SpecMaker(folder, self.loader, self.trust)
        launch(numbered, folder, launcher=self.job_launcher, spec=spec, retries=self.retries)


class OptunaSweeper(JobSweeper):
    """Trials that Optuna proposes, pruned on evaluations; launched again, it goes on to the same total.

    Args:
        params: the space, in Hydra's grammar.
        mean_over: keys whose values are all run in every trial.
        options: ``trials`` in all, ``objective``, ``sampler`` and its ``seed``, ``pruner`` and its ``startup_trials``,
            ``retries`` of a failed job, ``storage``, ``study`` and ``heartbeat`` in seconds.
    """

    def __init__(self, *, params: Mapping[str, Any] | None, mean_over: Sequence[str], **options: Any) -> None:
        self.params, self.mean_over, self.options = params, mean_over, options

    def sweep(self, arguments: list[str]) -> None:
        """Run trials until there are as many as asked for."""
        from qframe.sweeps.folder import SweepFolder
        from qframe.sweeps.grid import parameters
        from qframe.sweeps.optional import imported
        from qframe.sweeps.spec import SpecMaker

        assert self.config is not None
        imported("optuna", extra="optuna")
        from qframe.sweeps.optuna_search import search
        from qframe.sweeps.space import space

        folder = SweepFolder(self.folder)
        found = space(arguments, parameters(self.config), list(self.mean_over), self.loader)
        spec = SpecMaker(folder, self.loader, self.trust)
        search(found, folder, launcher=self.job_launcher, spec=spec, options=self.options)


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
        from qframe.sweeps.batch import launch_batch

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
        from qframe.sweeps.engines.local import local_engine

        return local_engine(self.jobs, needs=needs, say=say)


class RayLauncher(JobLauncher):
    """Jobs as tasks of a Ray cluster.

    Args:
        address: of the cluster; None starts one on this machine.
        jobs: at once; None for as many as there are cores for.
        gpus: of a job; a fraction shares one.
    """

    def __init__(self, *, address: str | None, jobs: int | None, gpus: float) -> None:
        self.address, self.jobs, self.gpus = address, jobs, gpus

    def engine(self, *, needs: Any, say: Callable[[str], None]) -> Any:
        """A connection to the cluster."""
        from qframe.sweeps.optional import imported

        imported("ray", extra="ray")
        from qframe.sweeps.engines.ray import RayEngine

        return RayEngine(self.address, self.jobs, needs=needs, gpus=self.gpus, say=say)


class SubmititLauncher(JobLauncher):
    """Jobs of a queue, by submitit.

    Args:
        cluster: ``slurm`` or ``local``.
        jobs: in the queue at once; None for as many as this machine has cores for.
        parameters: of the queue, in submitit's words.
    """

    def __init__(self, *, cluster: str, jobs: int | None, parameters: Mapping[str, Any]) -> None:
        self.cluster, self.jobs, self.parameters = cluster, jobs, parameters

    def engine(self, *, needs: Any, say: Callable[[str], None]) -> Any:
        """The queue."""
        from qframe.sweeps.optional import imported

        imported("submitit", extra="submitit")
        from qframe.sweeps.engines.submitit import SubmititEngine

        folder = Path(self.config.hydra.sweep.dir) / "submitit"
        given = {str(key): value for key, value in self.parameters.items() if value is not None}
        return SubmititEngine(self.cluster, self.jobs, folder=folder, needs=needs, parameters=given, say=say)
