"""What Hydra says, as faults: a broken file, an option that a file names wrongly, and what it would pass over."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hydra.core.config_loader import ConfigLoader
from hydra.core.default_element import DefaultsTreeNode, InputDefault
from hydra.errors import HydraException, MissingConfigException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import MarkedYAMLError

from qframe.config.errors import Fault, hint
from qframe.config.hydra_app import options, short, yaml_files
from qframe.config.provenance import file_name
from qframe.config.targets import trusted

PLUGINS = ("hydra.", "hydra_plugins.", "logging.", "colorlog.")


def ignored_options(tree: DefaultsTreeNode | InputDefault, loader: ConfigLoader) -> list[Fault]:
    """Options that a defaults list marks ``optional`` and that do not exist: Hydra drops them without a word."""
    if not isinstance(tree, DefaultsTreeNode):
        return []
    faults = []
    for child in tree.children or []:
        node = child.node if isinstance(child, DefaultsTreeNode) else child
        if not node.is_virtual() and node.is_deleted() and node.is_optional():
            faults.append(_no_option(node.get_config_path(), tree.node.get_config_path(), loader))
        faults += ignored_options(child, loader)
    return [fault for fault in faults if not fault.where.startswith("hydra")]


def _no_option(config_path: str, parent: str, loader: ConfigLoader) -> Fault:
    group, _, name = config_path.rpartition("/")
    files = [short(file) for file in yaml_files(loader) if _chooses(file, group, name)]
    source = " or ".join(files) or file_name(loader, parent)
    return Fault(group, f"unknown option '{name}'; {hint(name, options(loader, group))}", source, unknown=True)


def _chooses(file: Path, group: str, name: str) -> bool:
    """Whether the file's defaults list names this option; Hydra tells only which list the group is first named in."""
    try:
        content = OmegaConf.to_container(OmegaConf.load(file), resolve=False)
    except (MarkedYAMLError, OSError):
        return False
    listed = content.get("defaults") if isinstance(content, dict) else None
    for entry in listed if isinstance(listed, list) else []:
        for key, value in entry.items() if isinstance(entry, dict) else []:
            named = str(key).split()[-1].split("@")[0].lstrip("/")  # of "override /head@package"
            if value == name and (group == named or group.endswith(f"/{named}")):
                return True
    return False


def composition_fault(error: Exception, loader: ConfigLoader) -> Fault:
    """Why Hydra could not compose, in one line with the file."""
    if isinstance(error, MarkedYAMLError) and error.problem_mark is not None:
        mark = error.problem_mark
        place = f"{short(Path(mark.name))}, line {mark.line + 1}, column {mark.column + 1}"
        return Fault("", f"not valid YAML: {error.problem}", place, unknown=True)
    parent = re.match(r"In '([^']+)'", str(error))
    if isinstance(error, MissingConfigException) and error.missing_cfg_file and parent:
        return _no_option(error.missing_cfg_file, parent[1], loader)
    known = isinstance(error, HydraException | OmegaConfBaseException)
    prefix = "" if known else f"Hydra could not compose this ({type(error).__name__}): "
    return Fault("", prefix + first_line(error), file_name(loader, parent[1]) if parent else "", unknown=True)


def first_line(error: BaseException) -> str:
    """What went wrong, in one line, without Hydra's advice to force it in."""
    cause = error.__cause__
    text = f"{error}\n{cause or ''}".replace("override ++", "override ")
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    noise = ("To append", "full_key", "object_type", "reference_type", "See http")
    kept = [line.rstrip(".") for line in lines if not line.startswith(noise)]
    return "; ".join(dict.fromkeys(kept[:3])) or type(error).__name__


def foreign_targets(hydra: DictConfig) -> list[Fault]:
    """A ``_target_`` in Hydra's own part must be a plugin: a config runs no arbitrary code there either."""
    allowed = (*PLUGINS, *(f"{prefix}." for prefix in trusted()))
    faults: list[Fault] = []

    def walk(node: Any, where: str) -> None:
        if isinstance(node, Mapping):
            for key, value in node.items():
                walk(value, f"{where}.{key}")
                if key in ("_target_", "()", "class") and isinstance(value, str) and not value.startswith(allowed):
                    message = f"expected a plugin of Hydra, got '{value}'; trust your own by --trust PREFIX"
                    faults.append(Fault(f"{where}.{key}", message, unknown=True))
        elif isinstance(node, list):
            for index, value in enumerate(node):
                walk(value, f"{where}[{index}]")

    walk(OmegaConf.to_container(hydra, resolve=False), "hydra")
    return faults
