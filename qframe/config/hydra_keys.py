"""The few keys under ``hydra:`` that qframe reads; all others are refused.

A config may come from somebody else, and its ``hydra:`` part could name code to run and files to write. So there is an
allow-list, and a file may set less than the command line.
"""

import re
import shlex
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from qframe.config.hydra_app import SOURCE
from qframe.config.targets import trusted
from qframe.errors import ConfigError, Fault, UserError

BY_COMMAND = re.compile(r"hydra\.(mode|run\.dir|sweep\.dir|(sweeper|launcher)\.[a-z].*)")
"""Keys that the command line may set."""
SWEEPER = "zip|retries|objective|trials|mean_over|sampler|seed|pruner|startup_trials|storage|study|heartbeat"
QUEUE = "timeout_min|name|gpus_per_node|mem_gb|slurm_(partition|account|qos|max_num_timeout|signal_delay_s)"
BY_FILE = re.compile(
    rf"hydra\.(mode|run\.dir|sweep\.dir|sweeper\.(params(\..+)?|({SWEEPER})(\[\d+\])*)"
    rf"|launcher\.(address|jobs|gpus|cluster|parameters\.({QUEUE}))|(sweeper|launcher)\._target_)"
)
"""Keys that a file may set. Other parameters of a queue end up in a shell script."""
PLUGIN = re.compile(r"(hydra_plugins|hydra\._internal\.core_plugins|optuna)(\.[a-z_]\w*)*\.[A-Z]\w*")
"""Classes that a launcher or sweeper may be, or be made of."""
USUAL = (
    ("hydra/default", "hydra"), ("hydra/config", "hydra"), ("hydra/output/default", "hydra"),
    ("hydra/help/default", "hydra.help"), ("hydra/hydra_help/default", "hydra.hydra_help"),
    ("hydra/hydra_logging/none", "hydra.hydra_logging"), ("hydra/job_logging/none", "hydra.job_logging"),
    ("hydra/env/default", "hydra.env"),
)  # fmt: skip
"""Options of Hydra's own in every composition, with their places."""
RUN_DIR = "hydra.run.dir"
REMEDY = "under hydra: qframe reads mode, run.dir, sweep.dir, sweeper.… and launcher.…"
OF_SWEEPS = re.compile(r"hydra[./](sweep|sweeper|launcher)\b.*")


def unread(
    hydra: DictConfig,
    files: Collection[tuple[str, str]],
    contents: Collection[tuple[str, Mapping[str, Any]]],
    typed: Collection[str],
) -> list[Fault]:
    """A fault for every key under ``hydra:`` that qframe does not read, or that a file may not set.

    Args:
        hydra: Hydra's part as composed.
        files: composed files as (``group/option``, package).
        contents: the user's own files by name, each with its content at its place in the config.
        typed: the places that the command line sets.
    """
    faults = []
    for path, package in files:
        group = path.rpartition("/")[0]
        is_choice = group in ("hydra/sweeper", "hydra/launcher") and package == group.replace("/", ".")
        is_hydras = path.startswith("hydra/") or package.split(".")[0] == "hydra"
        if path == "hydra/sweeper/basic":
            message = "qframe runs no sweep with Hydra's own sweeper basic; valid: grid, optuna"
            faults.append(Fault(group, message, unknown=True))
        elif is_hydras and not is_choice and (path, package) not in USUAL:
            faults.append(Fault(group, f"qframe does not read '{path}'; {REMEDY}", unknown=True))
    for key in typed:
        if re.match(r"hydra\b(?!/)", key) and not BY_COMMAND.fullmatch(key):
            faults.append(Fault(key, f"qframe does not read this key; {REMEDY}", unknown=True))
    for kind in ("sweeper", "launcher"):
        for where, value in _leaves(OmegaConf.to_container(hydra[kind], resolve=False), f"hydra.{kind}"):
            if where.endswith("._target_") and not _may_build(str(value)):
                message = f"'{value}' is not a plugin of Hydra; trust your own with --trust PREFIX"
                faults.append(Fault(where, message, unknown=True))
    for name, content in contents:
        leaves = _leaves(content["hydra"], "hydra") if "hydra" in content else ()
        found = ((where, _refusal(where, value)) for where, value in leaves)
        faults += [Fault(where, message, name, unknown=True) for where, message in found if message]
    return faults


def of_other_mode(typed: Collection[str], mode: RunMode, *, is_sweep: bool) -> list[Fault]:
    """A fault for every typed key that a single run does not read, or that a sweep does not.

    Args:
        typed: the places that the command line sets.
        mode: composed, from ``hydra.mode``.
        is_sweep: whether it is a sweep, by its mode or by ``-m``.
    """
    if not is_sweep:
        return [Fault(key, "only sweeps read this; add -m", SOURCE) for key in typed if OF_SWEEPS.fullmatch(key)]
    faults = [Fault(key, "a sweep does not read this; use hydra.sweep.dir", SOURCE) for key in typed if key == RUN_DIR]
    if "hydra.mode" in typed and mode is RunMode.RUN:
        faults.append(Fault("hydra.mode", "-m asks for a sweep; leave one of them out", SOURCE))
    return faults


def ignored_in_sweep(contents: Collection[tuple[str, str, Mapping[str, Any]]], typed: Collection[str]) -> list[Fault]:
    """A fault for every preset that is swept over and sets keys under ``hydra:``: they concern the whole sweep.

    Args:
        contents: of the files that only some jobs have: ``group/option``, file name, and content at its place.
        typed: the places that the command line sets, which win.
    """
    faults = []
    for path, name, content in contents:
        group, _, option = path.rpartition("/")
        if path.startswith("hydra/"):
            if group not in typed:
                message = f"a preset that is swept over chooses {option}, which a sweep does not read"
                faults.append(Fault(group, f"{message}; type {group}={option}", unknown=True))
            continue
        ignored = []
        for where, value in _leaves(content.get("hydra", {}), "hydra"):
            key = where.removeprefix("hydra.sweeper.params.")
            is_typed = key in typed or any(f"{where}.".startswith(f"{place}.") for place in typed)
            if where not in ("hydra", "hydra.mode", RUN_DIR) and not is_typed:
                ignored.append(f"{key}={value}")
        if ignored:
            message = "a sweep does not read keys from a preset that is swept over; sweep over one preset, or type"
            faults.append(Fault("hydra", f"{message} {shlex.join(ignored)}", name, unknown=True))
    return faults


def inside(folder: Path, where: str, typed: Collection[str]) -> None:
    """Check that a run's or a sweep's folder is under the current one if a file names it.

    Raises:
        ConfigError: it is not.
    """
    if where not in typed and not folder.resolve().is_relative_to(Path.cwd().resolve()):
        message = f"a file may only name a folder under the current one, not '{folder}'; type it on the command line"
        raise ConfigError([Fault(where, message)])


def checked_record(overrides: Collection[str], trust: Collection[str], given: Collection[str]) -> None:
    """Check the command that a sweep's folder records, which may be somebody else's, before it is launched again.

    Args:
        overrides: of the recorded command.
        trust: packages that the recorded command trusted.
        given: packages that are trusted now.

    Raises:
        UserError: the record has something that only the user may type.
    """
    if missing := [prefix for prefix in trust if prefix not in given]:
        raise UserError(f"this sweep was launched with --trust {missing[0]}; give it again, if you trust its folder")
    for override in overrides:
        key, _, value = override.lstrip("+~").partition("=")
        place = key.strip().replace("/", ".")
        is_choice = place in ("hydra.sweeper", "hydra.launcher") and "/" in key
        is_folder = place.startswith(("hydra.run", "hydra.sweep."))
        if key.startswith("hydra") and not is_choice and (is_folder or _refusal(place, value)):
            raise UserError(f"this sweep was launched with '{override}'; type it again, if you trust its folder")


def _refusal(where: str, value: Any) -> str | None:
    """Why a file may not set this key to this value; None if it may."""
    if not BY_FILE.fullmatch(where):
        remedy = "type it on the command line" if BY_COMMAND.fullmatch(where) else REMEDY
        return f"a file may not set this key; {remedy}"
    if where.startswith("hydra.sweeper.params") and re.search(r"hydra[./]|\._", f"{where[20:]} {value}"):
        return "a sweep does not vary Hydra's own keys, or a _target_; remove it"
    if ".parameters." in where and re.search(r"[\n\r$]", str(value)):
        return f"must be plain text on one line, got {value!r}"
    return None


def _may_build(target: str) -> bool:
    return PLUGIN.fullmatch(target) is not None or any(target.startswith(f"{prefix}.") for prefix in trusted())


def _leaves(node: Any, where: str) -> Iterator[tuple[str, Any]]:
    pairs = node.items() if isinstance(node, Mapping) else enumerate(node) if isinstance(node, list) else ()
    if not pairs:
        yield where, node
    for key, value in pairs:
        yield from _leaves(value, f"{where}[{key}]" if isinstance(node, list) else f"{where}.{key}")
