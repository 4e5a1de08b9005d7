"""Hydra's own part of a config runs no code and leads nowhere: neither plugins, logging, paths nor job scripts.

What is typed on the command line is the user's own; what stands in a file may be somebody else's.
"""

import re
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from qframe.config.targets import trusted
from qframe.errors import ConfigError, Fault, UserError

PLUGIN = re.compile(r"(hydra_plugins|hydra\._internal\.core_plugins)(\.[a-z_]\w*)*\.[A-Z]\w*")
CHOICES = {
    "hydra.launcher._target_": PLUGIN,
    "hydra.sweeper._target_": PLUGIN,
    "hydra.sweeper.sampler._target_": re.compile(r"optuna\.samplers\.[A-Z]\w*"),
    "hydra.sweeper.pruner._target_": re.compile(r"optuna\.pruners\.[A-Z]\w*"),
}
LOGGING = ("logging.StreamHandler", "logging.NullHandler", "logging.Formatter", "colorlog.ColoredFormatter")
STREAMS = ("ext://sys.stdout", "ext://sys.stderr")
FOLDERS = ("hydra.sweep.subdir", "hydra.output_subdir")
LEADS_OUT = re.compile(r"\.\.|^[/~]|oc\.")
COMMANDS = (
    "setup", "teardown", "python", "srun_args", "additional_parameters", "setup_commands", "runtime_env", "env_set",
    "initialization_commands", "head_setup_commands", "worker_setup_commands", "head_start_ray_commands",
    "worker_start_ray_commands", "searchpath",
)  # fmt: skip
"""Keys whose values a shell, an interpreter or an import would run."""


def foreign(hydra: DictConfig, typed: Collection[str]) -> list[Fault]:
    """What Hydra's part must not hold.

    Args:
        hydra: the part, interpolations as they stand.
        typed: the places that the command line sets.
    """
    faults = []
    for where, key, value in _leaves(OmegaConf.to_container(hydra, resolve=False), "hydra"):
        if key in ("_target_", "()", "class", "factory") and not _may_build(where, key, value):
            message = f"expected a plugin of Hydra, got '{value}'; trust your own by --trust PREFIX"
            faults.append(Fault(where, message, unknown=True))
        elif isinstance(value, str) and value.startswith("ext://") and value not in STREAMS:
            faults.append(Fault(where, f"expected {' or '.join(STREAMS)}, got '{value}'", unknown=True))
        elif value not in (None, "") and _is_command(where) and not _is_typed(where, typed):
            message = f"a file may not hold what is run or imported, got {value!r}; type it on the command line"
            faults.append(Fault(where, message, unknown=True))
        elif where in FOLDERS and not _is_typed(where, typed) and LEADS_OUT.search(str(value)):
            message = f"a file may only name a folder inside the sweep's, got {value!r}; type it on the command line"
            faults.append(Fault(where, message))
    return faults


def inside(folder: Path, where: str, typed: Collection[str]) -> None:
    """A run's or a sweep's folder that a file names is under the current one.

    Raises:
        ConfigError: it is not.
    """
    if not _is_typed(where, typed) and not folder.resolve().is_relative_to(Path.cwd().resolve()):
        message = f"a file may only name a folder under the current one, got '{folder}'; type it on the command line"
        raise ConfigError([Fault(where, message)])


def checked_record(overrides: Collection[str], trust: Collection[str], given: Collection[str]) -> None:
    """A sweep that was launched before is launched again by its folder, which may be somebody else's.

    Args:
        overrides: that it was launched with, as its folder says.
        trust: packages that it trusted, as its folder says.
        given: packages that are trusted now.

    Raises:
        UserError: something that only the user may say.
    """
    untold = [prefix for prefix in trust if prefix not in given]
    if untold:
        raise UserError(f"this sweep was launched with --trust {untold[0]}; give it again, if you trust its folder")
    for override in overrides:
        key = override.lstrip("+~").partition("=")[0].strip()
        is_choice = re.fullmatch(r"hydra[./](sweeper|launcher)([./][\w.]+)?|hydra\.mode", key) is not None
        if key.startswith("hydra") and (not is_choice or _is_command(key)):
            raise UserError(f"this sweep was launched with '{override}'; type it again, if you trust its folder")


def _leaves(node: Any, where: str) -> Iterator[tuple[str, str, Any]]:
    pairs = node.items() if isinstance(node, Mapping) else enumerate(node) if isinstance(node, list) else ()
    for key, value in pairs:
        place = f"{where}[{key}]" if isinstance(node, list) else f"{where}.{key}"
        if isinstance(value, Mapping | list):
            yield from _leaves(value, place)
        else:
            yield place, str(key), value


def _may_build(where: str, key: str, value: Any) -> bool:
    text = str(value)
    if any(text.startswith(f"{prefix}.") for prefix in trusted()):
        return True
    if key == "_target_":
        return where in CHOICES and CHOICES[where].fullmatch(text) is not None
    return text in LOGGING


def _is_command(where: str) -> bool:
    return any(step in COMMANDS for step in re.findall(r"\w+", where)[1:])


def _is_typed(where: str, typed: Collection[str]) -> bool:
    steps = re.findall(r"\w+", where)
    return any(".".join(steps[:count]) in typed for count in range(1, len(steps) + 1))
