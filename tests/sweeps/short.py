"""A run of a few seconds as a job."""

from pathlib import Path

from omegaconf import OmegaConf

from qframe.config import build
from qframe.config.compose import compose
from qframe.sweeps.job_spec import JobSpec

SHORT = ["total_frames=300", "runner.learning_starts=200", "evaluation.final_episodes=1", "logger.tensorboard=false"]


def spec(number: int, folder: Path, *overrides: str) -> JobSpec:
    """A job of its number below ``folder``."""
    config = OmegaConf.to_container(compose([*SHORT, *overrides], provided=build.PROVIDED))
    assert isinstance(config, dict)
    return JobSpec(number, folder / str(number), overrides, {str(key): value for key, value in config.items()})
