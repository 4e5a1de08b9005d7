"""The score that a preset states under ``score:``; ``qframe bench`` measures against it, and no run depends on it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from hydra.core.config_loader import ConfigLoader
from omegaconf import OmegaConf

from qframe.config.hydra_app import config_file, options
from qframe.errors import ConfigError, Fault, hint
from qframe.formatting import format_path

METRICS = ("eval_return_mean", "eval_return_last", "train_return_mean")
KINDS: dict[str, tuple[Any, str]] = {
    "algorithm": (str, "text"),
    "expected": (int | float, "a number"),
    "metric": (str, "text"),
    "protocol": (str, "text"),
    "seeds": (int, "an integer"),
    "source": (Mapping, "a mapping"),
}
"""The type of each key's value, and its name in an error."""


@dataclass(frozen=True)
class Score:
    """The score that a preset is expected to reach.

    Args:
        algorithm: its name in the literature.
        expected: the lowest interquartile mean over seeds that passes.
        metric: the key of a run's ``summary.json`` that is compared.
        protocol: how the metric is measured, in words.
        seeds: the number of seeds that the score refers to.
        source: a published number for the same task, as ``name``, ``score`` and ``protocol``; {} if none is known.
    """

    algorithm: str
    expected: float
    metric: str
    protocol: str
    seeds: int
    source: Mapping[str, Any] = field(default_factory=dict)


def preset_score(loader: ConfigLoader, preset: str) -> Score | None:
    """The score that the file of ``experiment=PRESET`` states, or None.

    Raises:
        ConfigError: there is no such preset, or its score has faults.
    """
    known = options(loader, "experiment")
    file = config_file(loader, f"experiment/{preset}") if preset in known else None
    if file is None:
        raise ConfigError([Fault("experiment", f"unknown option '{preset}'; {hint(preset, known)}", unknown=True)])
    content = OmegaConf.to_container(OmegaConf.load(file))
    node = content.get("score") if isinstance(content, Mapping) else None
    if node is None:
        return None
    if faults := score_faults(node):
        raise ConfigError([Fault(fault.where, fault.message, format_path(file), fault.unknown) for fault in faults])
    return Score(**{**node, "expected": float(node["expected"])})


def score_faults(node: Any) -> list[Fault]:
    """All faults of a ``score:`` value; none if it is null.

    >>> score_faults({"algorithm": "DQN", "expected": 9, "metric": "train_return_mean", "protocol": "greedy"})
    [Fault(where='score.seeds', message='missing; expected an integer', source='', unknown=False)]
    """
    if node is None:
        return []
    if not isinstance(node, Mapping):
        return [Fault("score", f"expected a mapping with the keys {', '.join(KINDS)}, got {node!r}")]
    unknown = [key for key in node if key not in KINDS]
    faults = [Fault(f"score.{key}", f"unknown key; {hint(str(key), KINDS, 'score.')}", unknown=True) for key in unknown]
    for key, (kind, name) in KINDS.items():
        if key not in node:
            faults += [] if key == "source" else [Fault(f"score.{key}", f"missing; expected {name}")]
        elif not isinstance(node[key], kind) or isinstance(node[key], bool):
            faults.append(Fault(f"score.{key}", f"expected {name}, got {node[key]!r}"))
    if isinstance(node.get("metric"), str) and node["metric"] not in METRICS:
        faults.append(Fault("score.metric", f"expected one of {', '.join(METRICS)}, got '{node['metric']}'"))
    return faults
