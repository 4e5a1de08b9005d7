"""The config of a run folder that a command names, and its parts with their trained weights."""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
from hydra.core.config_loader import ConfigLoader
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import MarkedYAMLError, YAMLError

from qframe.checkpoints.files import FORMAT, config_format, other_format
from qframe.config import build
from qframe.config.auto import resolved
from qframe.config.compose import PRESETS, Composition, composed, recheck
from qframe.config.hydra_app import groups
from qframe.config.parts import Parts
from qframe.config.schema import PROVIDED, available_device
from qframe.config.trained_weights import trained_weights
from qframe.errors import ConfigError, RunError, UserError
from qframe.runs.folder import RunFolder
from qframe.runs.run_name import run_name


def composed_from(loader: ConfigLoader, file: Path, texts: Sequence[str]) -> Composition:
    """The config of an earlier run with overrides, for a new run.

    Args:
        loader: knows the options of groups.
        file: the run's ``config.yaml``.
        texts: ``group=option`` and ``key=value``.

    Raises:
        ConfigError: a fault in the config or in an override.
        UserError: the file is not the config of a run.
    """
    if file.name != "config.yaml" or not file.is_file():
        remedy = "a preset belongs in DIR/experiment, and is chosen by --config-dir DIR experiment=NAME"
        raise UserError(f"--config: '{file}' is not the config.yaml of a run; {remedy}")
    known, typed = groups(loader), {text.lstrip("+~").partition("=")[0]: text for text in texts}
    choices = {key: text for key, text in typed.items() if key in known}
    if presets := [choices[key] for key in PRESETS if key in choices]:
        raise UserError(f"--config takes the place of a preset; leave out '{presets[0]}'")
    rest = [text for key, text in typed.items() if key not in known and not key.startswith("hydra")]
    of_choices = [text for key, text in typed.items() if re.split("[./]", key)[0] in ("hydra", *choices)]
    base = composed(loader, ["~experiment", *of_choices], PROVIDED)
    if base.faults:
        raise ConfigError(base.faults)
    config = saved_config(RunFolder(file.parent), rest, {key: base.config[key] for key in choices})
    if "name" not in typed:
        config.name = run_name(config, texts, preset=config.name)
    plain = OmegaConf.to_container(config)
    assert isinstance(plain, dict)
    values: dict[str, Any] = {str(key): value for key, value in plain.items()}
    return replace(base, config=values, score=None, keys=base.keys | typed.keys())


def saved_config(
    folder: RunFolder, overrides: Sequence[str] = (), nodes: Mapping[str, Any] | None = None
) -> DictConfig:
    """The run's config with ``key=value`` overrides, checked again.

    Args:
        folder: of the run.
        overrides: of values.
        nodes: groups that are replaced.

    Raises:
        ConfigError: a fault in it.
        UserError: an invalid override, an unreadable file, or a run of another format.
    """
    saved = _load(folder)
    for group, node in (nodes or {}).items():
        saved[group] = node
    try:
        changed = OmegaConf.merge(saved, OmegaConf.from_dotlist(list(_checked(overrides))))
    except (OmegaConfBaseException, YAMLError, ValueError) as error:
        raise UserError(f"expected key=value, such as total_frames=100k: {_reason(error)}") from error
    assert isinstance(changed, DictConfig)
    return recheck(changed, build.PROVIDED)


def readable_config(folder: RunFolder, device: str | None = None) -> DictConfig:
    """The run's config for a command that only acts: without the devices and packages that only training needs.

    Args:
        folder: of the run.
        device: of the network; None: the run's own, or the CPU with a note if this machine lacks it.

    Raises:
        ConfigError: a fault in it.
        UserError: an unreadable file, or a run of another format.
    """
    saved = _load(folder)
    if device is None and available_device(str(saved.get("device", "auto"))) is not None:
        print(f"note: this run was trained on {saved.device}, which this machine lacks; its network runs on the cpu")
        device = "cpu"
    saved.merge_with({} if device is None else {"device": device})
    unneeded = {
        "compile": False, "autocast": False, "replay.device": "cpu", "evaluation.video": 0, "logger.also": {},
        "runner.threads": "auto", "runner.callbacks": [],
    }  # fmt: skip
    for key, value in unneeded.items():
        if OmegaConf.select(saved, key) is not None:
            OmegaConf.update(saved, key, value, merge=False)
    return recheck(saved, build.PROVIDED)


def _load(folder: RunFolder) -> DictConfig:
    try:
        saved = OmegaConf.load(folder.config_file)
    except (OmegaConfBaseException, YAMLError, ValueError) as error:
        raise UserError(f"cannot read {folder.config_file}: {_reason(error)}; restore it from a copy") from error
    if not isinstance(saved, DictConfig) or not saved:
        raise UserError(f"{folder.config_file} has no keys; restore it from a copy")
    if (number := config_format(OmegaConf.to_container(saved))) != FORMAT:
        raise UserError(other_format(folder.path, number))
    return saved


def _reason(error: Exception) -> str:
    if isinstance(error, MarkedYAMLError) and error.problem_mark is not None:
        return f"{error.problem} in line {error.problem_mark.line + 1}"
    return next(iter(str(error).splitlines()), type(error).__name__)


@contextmanager
def fitting() -> Iterator[None]:
    """While active, an error that loading a checkpoint raises means that it does not fit the config.

    Raises:
        UserError: in place of that error.
    """
    try:
        yield
    except RunError:  # such as another process that trains the run
        raise
    except (LookupError, ValueError, TypeError, AttributeError, RuntimeError) as error:
        lines = [line.strip() for line in str(error).splitlines()[:2]]
        message = f"the checkpoint does not fit the config: {type(error).__name__}: {' '.join(lines)}"
        raise UserError(f"{message}; undo the changes") from error


class TrainedRun(NamedTuple):
    """A run's parts with trained weights: the ``best`` or the ``last`` network, after this many frames."""

    config: DictConfig
    parts: Parts
    name: str
    frames: int

    @property
    def network(self) -> Any:
        """The trained network."""
        return self.parts.loss.value_network


def trained_run(folder: RunFolder, *, last: bool = False, device: str | None = None) -> TrainedRun:
    """The best network of a run; its last network on request, or if the checkpoint has no best one.

    Args:
        folder: of the run.
        last: whether to take the last network.
        device: of the network; None: the run's own if this machine has it, else the CPU.

    Raises:
        UserError: there is no checkpoint, or it does not fit the config.
    """
    config = readable_config(folder, device)
    parts = build.parts(config, trains=False)
    torch.set_num_threads(resolved(config)[0]["runner"]["threads"])
    found = trained_weights(folder, last=last)
    with fitting():
        parts.evaluation.longest_episode = found.longest_episode
        parts.loss.value_network.load_state_dict(found.network)
    return TrainedRun(config, parts, found.name, found.frames)


def _checked(overrides: Sequence[str]) -> Sequence[str]:
    for override in overrides:
        key, separator, _ = override.lstrip("+").partition("=")
        if not separator or not key:
            raise UserError(f"expected key=value, such as total_frames=100k, got '{override}'")
    return [override.lstrip("+") for override in overrides]
