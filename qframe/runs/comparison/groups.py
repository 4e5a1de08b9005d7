"""Grouping runs: those of one environment that differ only in their seed belong together."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from qframe.runs.folder import RunFolder, environment_name, flat, value_at

IRRELEVANT = ("seed", "name", "device", "profile", "logger", "checkpoint", "evaluation", "hydra")
"""Keys that may differ within a group: the seed, and keys that training does not depend on."""
EXECUTION = ("num_envs", "vectorization", "backend", "num_threads", "timeout", "max_restarts")
"""Keys of ``env`` that set how environments run, not which task it is."""
LONG = 60  # characters of a label; beyond it the runs' names are used, and what differs among those of one name


@dataclass(frozen=True)
class Group:
    """Runs that differ in their seed alone.

    Args:
        label: the overrides that distinguish them from the other groups of their environment.
        runs: at least one.
    """

    label: str
    runs: tuple[RunFolder, ...]


def by_environment(runs: Iterable[RunFolder]) -> dict[str, list[RunFolder]]:
    """The runs of each environment, by name; if two environments share a name, their differences are added to it."""
    found: dict[str, list[RunFolder]] = {}
    for run in runs:
        found.setdefault(_key(_environment(run)), []).append(run)
    together: dict[str, list[list[RunFolder]]] = {}
    for members in found.values():
        together.setdefault(_name(members[0]), []).append(members)
    named: dict[str, list[RunFolder]] = {}
    for name, alike in together.items():
        labels = _labels([_environment(members[0]) for members in alike], {})
        for label, members in zip(labels, alike, strict=True):
            named[f"{name} ({label})" if label else name] = members
    return dict(sorted(named.items()))


def groups(runs: Sequence[RunFolder], names: Mapping[str, str], by: Sequence[str] = ()) -> list[Group]:
    """The groups of runs of one environment, in the order of their first runs.

    Args:
        runs: all of one environment.
        names: short names of classes, by ``group=target``; other classes go by their own name.
        by: keys or groups of the config; runs with equal values belong together, whatever else differs.
    """
    found: dict[str, list[RunFolder]] = {}
    if by:
        for run in runs:
            found.setdefault(", ".join(f"{key}={_named(run.config, key, names)}" for key in by), []).append(run)
        return [Group(label, tuple(members)) for label, members in found.items()]
    for run in runs:
        found.setdefault(_key(_choices(run)), []).append(run)
    choices = [_choices(members[0]) for members in found.values()]
    labels = _labels(choices, names)
    own_names = [str(members[0].config.get("name", "run")) for members in found.values()]
    if max(map(len, labels)) > LONG or (not all(labels) and len(set(own_names)) == len(own_names)):
        labels = _within_names(own_names, choices, names)
    labels = [label or name for label, name in zip(labels, own_names, strict=True)]
    return [Group(label, tuple(members)) for label, members in zip(labels, found.values(), strict=True)]


def differences(found: Sequence[Group]) -> dict[str, list[str]]:
    """The keys in which the first runs of the groups differ, with their values; "–" where a key is not set.

    Args:
        found: groups of one environment.
    """
    choices = [_choices(group.runs[0]) for group in found]
    keys = dict.fromkeys(key for chosen in choices for key in chosen)
    return {key: [_shown(c[key]) if key in c else "–" for c in choices] for key in keys if _varies(key, choices)}


def repeated_seeds(group: Group) -> list[int]:
    """Seeds that occur more than once; each of their runs counts."""
    seeds = [run.config.get("seed") for run in group.runs]
    return sorted({seed for seed in seeds if isinstance(seed, int) and seeds.count(seed) > 1})


def _named(config: Mapping[str, Any], key: str, names: Mapping[str, str]) -> str:
    value = value_at(config, key)
    if isinstance(value, Mapping) and "_target_" in value:
        return names.get(f"{key}={value['_target_']}", str(value["_target_"]).rpartition(".")[2])
    return _shown(value)


def _environment(run: RunFolder) -> dict[str, Any]:
    node = run.config.get("env")
    kept = {key: v for key, v in node.items() if key not in EXECUTION} if isinstance(node, Mapping) else {}
    return _set_values(kept)


def _name(run: RunFolder) -> str:
    return environment_name(_environment(run)) or "unknown"


def _choices(run: RunFolder) -> dict[str, Any]:
    """The config without the environment and without keys that may differ."""
    kept = {key: value for key, value in run.config.items() if key not in (*IRRELEVANT, "env")}
    node = run.config.get("env")
    if isinstance(node, Mapping):
        kept["env"] = {key: node[key] for key in EXECUTION if key in node}
    return _set_values(kept)


def _set_values(config: Mapping[str, Any]) -> dict[str, Any]:
    """The flat config without null and empty values, so that a key that another version lacks makes no difference."""
    return {key: value for key, value in flat(config).items() if value not in (None, [], {})}


def _labels(choices: Sequence[dict[str, Any]], names: Mapping[str, str]) -> list[str]:
    """How each differs from the others, as overrides."""
    keys = dict.fromkeys(key for chosen in choices for key in chosen)
    varying = [key for key in keys if _varies(key, choices)]
    return [", ".join(_parts(chosen, choices, varying, names)) for chosen in choices]


def _within_names(own_names: Sequence[str], choices: Sequence[dict[str, Any]], names: Mapping[str, str]) -> list[str]:
    """The names of the runs, with the overrides that distinguish those that share one."""
    alike = {name: [index for index, own in enumerate(own_names) if own == name] for name in own_names}
    found = list(own_names)
    for name, places in alike.items():
        for place, label in zip(places, _labels([choices[place] for place in places], names), strict=True):
            found[place] = f"{name} ({label})" if label else name
    return found


def _parts(
    chosen: dict[str, Any], choices: Sequence[dict[str, Any]], varying: Sequence[str], names: Mapping[str, str]
) -> Iterable[str]:
    for key in varying:
        if key not in chosen:
            continue
        node = _replaced_node(key, varying)
        if key == f"{node}._target_":
            yield f"{node}={names.get(f'{node}={chosen[key]}', str(chosen[key]).rpartition('.')[2])}"
        elif node is None or _varies(key, [c for c in choices if _same_class(node, c, chosen)]):
            yield f"{key}={_shown(chosen[key])}"


def _same_class(node: str, first: dict[str, Any], second: dict[str, Any]) -> bool:
    return first.get(f"{node}._target_") == second.get(f"{node}._target_")


def _replaced_node(key: str, varying: Sequence[str]) -> str | None:
    """The outermost node around a key whose class varies; the other keys of such a node are not compared."""
    steps = key.split(".")[:-1]
    nodes = [".".join(steps[: end + 1]) for end in range(len(steps))]
    return next((node for node in nodes if f"{node}._target_" in varying), None)


def _varies(key: str, choices: Sequence[dict[str, Any]]) -> bool:
    missing = object()
    return len({_key(value) if (value := c.get(key, missing)) is not missing else None for c in choices}) > 1


def _key(value: Any) -> str:
    return json.dumps(value, sort_keys=True, default=str)


def _shown(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, default=str).replace(" ", "")
