"""The score that a preset states of itself: a block of YAML in the comment at its head, which no run reads."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from hydra.core.config_loader import ConfigLoader
from yaml import YAMLError, safe_load

from qframe.config.hydra_app import config_file, options, short
from qframe.errors import ConfigError, Fault, hint

METRICS = ("eval_return_mean", "eval_return_last", "train_return_mean")
EXAMPLE = "# score: {algorithm: DQN, expected: 490, metric: eval_return_mean, protocol: …, seeds: 5}"


@dataclass(frozen=True)
class Score:
    """What a preset is expected to reach.

    Args:
        algorithm: its name in the literature.
        expected: the least interquartile mean over seeds that passes.
        metric: the key of a run's summary that is the score.
        protocol: how the metric is measured, in words.
        seeds: how many the statement is about.
        source: a published number for the same task: ``name``, ``score``, ``protocol``; {} where there is none.
    """

    algorithm: str
    expected: float
    metric: str
    protocol: str
    seeds: int
    source: Mapping[str, Any] = field(default_factory=dict)


def preset_score(loader: ConfigLoader, preset: str) -> Score:
    """What the file of ``experiment=PRESET`` states.

    Raises:
        ConfigError: there is no such preset, or it states no score that can be read.
    """
    known = options(loader, "experiment")
    file = config_file(loader, f"experiment/{preset}") if preset in known else None
    if file is None:
        raise ConfigError([Fault("experiment", f"unknown option '{preset}'; {hint(preset, known)}", unknown=True)])
    try:
        return stated(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ConfigError([Fault("score", str(error), short(file))]) from error


def stated(text: str) -> Score:
    """The score that a preset's text states.

    Raises:
        ValueError: none, or one that lacks something.

    >>> stated("# score: {algorithm: DQN, expected: 9, metric: train_return_mean, protocol: greedy, seeds: 5}").expected
    9.0
    """
    comment = [line[1:].removeprefix(" ") for line in text.splitlines() if line.startswith("#")]
    start = next((number for number, line in enumerate(comment) if line.startswith("score:")), None)
    if start is None:
        raise ValueError(f"expected a score in the comment at the preset's head, got none; write it as {EXAMPLE}")
    stop = next((n for n in range(start + 1, len(comment)) if not comment[n].startswith((" ", "\t"))), len(comment))
    try:
        node = safe_load("\n".join(comment[start:stop]))["score"]
    except YAMLError as error:
        reason = getattr(error, "problem", None) or "no mapping"
        raise ValueError(f"expected a score in YAML, got another text ({reason}); write it as {EXAMPLE}") from error
    return _checked(node)


def _checked(node: Any) -> Score:
    known = {f.name: f for f in fields(Score)}
    if not isinstance(node, Mapping) or node.keys() - known.keys() or known.keys() - node.keys() - {"source"}:
        got = ", ".join(map(str, node)) if isinstance(node, Mapping) else repr(node)
        raise ValueError(f"expected a score with the keys {', '.join(known)}, got {got}")
    kinds = {"algorithm": str, "expected": int | float, "metric": str, "protocol": str, "seeds": int, "source": Mapping}
    for key, value in node.items():
        if not isinstance(value, kinds[key]):
            raise ValueError(f"expected score.{key} to be {described(kinds[key])}, got {value!r}")
    if node["metric"] not in METRICS:
        raise ValueError(f"expected score.metric to be one of {', '.join(METRICS)}, got {node['metric']!r}")
    return Score(**{**node, "expected": float(node["expected"])})


def described(kind: Any) -> str:
    """A kind of value in words."""
    return {str: "text", int: "an integer", Mapping: "a mapping"}.get(kind, "a number")
