"""Where in the YAML files a value stands, so that a fault can name the file."""

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from typing import Any

import yaml
from hydra.core.config_loader import ConfigLoader
from omegaconf import OmegaConf

from qframe.config.hydra_app import config_file, is_qframes, short
from qframe.config.overrides import SOURCE
from qframe.errors import Fault


def located(
    faults: Collection[Fault], loader: ConfigLoader, files: Collection[tuple[str, str]], keys: Collection[str]
) -> list[Fault]:
    """The faults, each with its source: the command line, or the last file that sets the value.

    Args:
        faults: what is wrong.
        loader: finds the files.
        files: composed files as (``group/option``, package), first to last.
        keys: the places that the command line sets.
    """
    if not faults:
        return []
    contents = [(file_name(loader, path), _content(loader, path, package)) for path, package in files]
    return [fault if fault.source else _located(fault, _source(fault.where, contents, keys)) for fault in faults]


def _located(fault: Fault, source: str) -> Fault:
    """The fault with its source; a key of an experiment for another option than the one chosen can be left out."""
    is_left_over = fault.message.startswith("unknown key") and "/experiment/" in source
    remedy = f"; leave it out with '~{fault.where}'" if is_left_over else ""
    return replace(fault, message=fault.message + remedy, source=source)


def sources(
    places: Iterable[str], loader: ConfigLoader, files: Collection[tuple[str, str]], keys: Collection[str]
) -> dict[str, str]:
    """Where the value at each place of the config was set: the command line, or a file.

    Args:
        places: as ``env.num_envs``.
        loader: finds the files.
        files: composed files as (``group/option``, package), first to last.
        keys: the places that the command line sets.
    """
    contents = [(file_name(loader, path), _content(loader, path, package)) for path, package in files]
    return {place: _source(place, contents, keys) for place in places}


def comments(loader: ConfigLoader, files: Iterable[tuple[str, str]]) -> dict[str, str]:
    """The comment behind each key in the YAML files, by place; that of a later file wins.

    Args:
        loader: finds the files.
        files: composed files as (``group/option``, package), first to last.
    """
    found: dict[str, str] = {}
    for config_path, package in files:
        file = config_file(loader, config_path)
        text = file.read_text(encoding="utf-8") if file else ""
        prefix = "" if package == "_global_" else f"{package}." if package else ""
        found |= _comments(yaml.compose(text, Loader=yaml.SafeLoader), text.splitlines(), prefix)
    return found


def _comments(node: yaml.Node | None, lines: list[str], prefix: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for key, value in node.value if isinstance(node, yaml.MappingNode) else ():
        place = f"{prefix}{key.value}"
        is_one_line = not (isinstance(value, yaml.MappingNode) and value.flow_style)
        if is_one_line and (comment := re.search(r"\s#\s*(.+)", lines[key.start_mark.line])):
            found[place] = comment[1]
        found |= _comments(value, lines, f"{place}.")
    return found


def own_contents(loader: ConfigLoader, files: Iterable[tuple[str, str]]) -> list[tuple[str, Mapping[str, Any]]]:
    """The content of the files that are not qframe's own, by name and at its place in the config."""
    own = [(path, package) for path, package in files if (file := config_file(loader, path)) and not is_qframes(file)]
    return [(file_name(loader, path), _content(loader, path, package)) for path, package in own]


def _source(where: str, contents: list[tuple[str, Mapping[str, Any]]], keys: Collection[str]) -> str:
    steps = re.findall(r"[^.\[\]]+", where)
    while steps:
        place = ".".join(steps)
        if steps[-1].isdigit() and ".".join(steps[:-1]) in keys:  # an item of a list that the command line replaced
            return SOURCE
        if any(key == place or key.startswith(f"{place}.") for key in keys if len(steps) > 1 or key == place):
            return SOURCE
        for path, content in reversed(contents):
            if _has(content, steps):
                return path
        steps.pop()
    return ""


def _content(loader: ConfigLoader, config_path: str, package: str) -> Mapping[str, Any]:
    file = config_file(loader, config_path)
    content: Any = OmegaConf.to_container(OmegaConf.load(file), resolve=False) if file else {}
    for step in reversed([step for step in package.split(".") if step not in ("", "_global_")]):
        content = {step: content}
    return content


def _has(content: Any, steps: list[str]) -> bool:
    for step in steps:
        if isinstance(content, list) and step.isdigit() and int(step) < len(content):
            content = content[int(step)]
        elif isinstance(content, Mapping) and step in content:
            content = content[step]
        else:
            return False
    return True


def file_name(loader: ConfigLoader, config_path: str) -> str:
    """The YAML file of ``group/option``, as a reader would write it."""
    file = config_file(loader, config_path)
    return short(file) if file else f"{config_path}.yaml"
