"""The defaults of keys that a config of an earlier version lacks."""

from collections.abc import Mapping
from functools import cache
from typing import Any

from omegaconf import OmegaConf

from qframe.config.hydra_app import CONFIG_NAME, conf_dir


def fill_in(config: dict[str, Any]) -> None:
    """Add the keys that a run's config lacks and ``conf/`` has, in place: its version acted as their defaults do."""
    settings, nodes = _defaults()
    _add(config, settings)
    for group, node in config.items():
        if isinstance(node, dict):
            _add(node, nodes.get((group, node.get("_target_")), {}))


@cache
def _defaults() -> tuple[dict[str, Any], dict[tuple[str, Any], dict[str, Any]]]:
    """The settings of ``train.yaml``, and the keys of each class on which all options of its group agree."""
    nodes: dict[tuple[str, Any], dict[str, Any]] = {}
    for file in sorted(conf_dir().glob("*/*.yaml")):
        node = _content(file)
        place = file.parent.name, node.get("_target_")
        other = nodes.setdefault(place, node)
        nodes[place] = {key: value for key, value in other.items() if key in node and node[key] == value}
    settings = _content(conf_dir() / f"{CONFIG_NAME}.yaml")
    return {key: value for key, value in settings.items() if key not in ("defaults", "score")}, nodes


def _content(file: Any) -> dict[str, Any]:
    found = OmegaConf.to_container(OmegaConf.load(file))
    return {str(key): value for key, value in found.items()} if isinstance(found, dict) else {}


def _add(config: dict[str, Any], defaults: Mapping[str, Any]) -> None:
    for key, value in defaults.items():
        if isinstance(value, dict) and isinstance(config.get(key), dict):
            if config[key].get("_target_") == value.get("_target_"):
                _add(config[key], value)
        else:
            config.setdefault(key, value)
