"""Opening a run folder that a command names: its config, its parts and its checkpoints."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from qframe.config import build
from qframe.config.compose import recheck
from qframe.config.errors import UserError
from qframe.runner import RunFolder, load_checkpoint


def open_run(path: Path) -> RunFolder:
    """The run folder at ``path``.

    Raises:
        UserError: there is no run there.
    """
    folder = RunFolder(path)
    if folder.config.is_file():
        return folder
    if not path.exists():
        raise UserError(f"expected the folder of a run, got '{path}', which does not exist")
    inside = sorted(config.parent for config in path.rglob("config.yaml"))
    remedy = f"did you mean {inside[-1]}?" if inside else "runs are in outputs/"
    raise UserError(f"expected the folder of a run, with a config.yaml, got '{path}'; {remedy}")


def saved_config(folder: RunFolder, overrides: Sequence[str] = ()) -> DictConfig:
    """The run's config with ``key=value`` overrides, checked again.

    Raises:
        ConfigError: a fault in it.
        UserError: something that is no override, or a broken file.
    """
    try:
        saved = OmegaConf.load(folder.config)
        assert isinstance(saved, DictConfig)
        changed = OmegaConf.merge(saved, OmegaConf.from_dotlist(list(_checked(overrides))))
    except (OmegaConfBaseException, AssertionError, ValueError) as error:
        raise UserError(f"expected a readable config in {folder.config}, got: {str(error).splitlines()[0]}") from error
    assert isinstance(changed, DictConfig)
    return recheck(changed, build.PROVIDED)


def checkpoint(path: Path) -> dict[str, Any]:
    """A checkpoint's content.

    Raises:
        UserError: it is missing, damaged or of another format.
    """
    try:
        return load_checkpoint(path)
    except ValueError as error:
        raise UserError(str(error)) from error


def _checked(overrides: Sequence[str]) -> Sequence[str]:
    for override in overrides:
        key, separator, _ = override.lstrip("+").partition("=")
        if not separator or not key:
            raise UserError(f"expected key=value, as total_frames=100k, got '{override}'")
    return [override.lstrip("+") for override in overrides]
