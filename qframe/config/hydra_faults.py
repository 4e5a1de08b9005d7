"""What Hydra says, as faults: a broken file, an option that a file names wrongly, and what it would pass over."""

import re
from collections.abc import Iterable
from pathlib import Path

from hydra.core.config_loader import ConfigLoader
from hydra.core.default_element import DefaultsTreeNode, InputDefault
from hydra.errors import HydraException, MissingConfigException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import MarkedYAMLError

from qframe.config.hydra_app import groups, options, short, yaml_files
from qframe.config.provenance import file_name
from qframe.errors import Fault, hint


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


def traversals(paths: Iterable[str | None], loader: ConfigLoader) -> list[Fault]:
    """Options whose name leads out of the folders of configuration."""
    led_out = [path for path in paths if path and (".." in path.split("/") or path.startswith(("/", "~")))]
    faults = []
    for path in led_out:
        group = path.split("/")[0]
        known = options(loader, group) if group in groups(loader) else ()
        message = f"expected an option of the group, got a path '{path}'; {hint(path.rpartition('/')[2], known)}"
        faults.append(Fault(group, message, unknown=True))
    return faults


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
