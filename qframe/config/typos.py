"""Finds mistakes of the command line in the YAML files alone, before torch is imported, which takes seconds.

Only if the command line sets no other values of parts are these all the faults; otherwise the constructors are asked,
as in :func:`qframe.config.checker.validate`.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from qframe.config.checker import unknown_key, validate_settings
from qframe.config.schema import GROUPS
from qframe.errors import Fault

UNLISTED = frozenset({
    "qframe.exploration.EGreedyModule", "qframe.objectives.DQNLoss", "qframe.objectives.DQVLoss",
    "qframe.replay.SliceReplayBuffer", "qframe.objectives.SoftUpdate",
})  # fmt: skip
"""Classes with parameters that their YAML files leave out."""


def typos(
    values: Mapping[str, Any],
    found: Sequence[Fault],
    typed: Collection[str],
    listed: Mapping[str, Mapping[str, Any]],
    also: Collection[str],
) -> list[Fault] | None:
    """The faults of a config; None if there are none, or only signatures show all of them.

    Args:
        values: the composed config as plain values.
        found: the faults of the command line.
        typed: the places that the command line sets.
        listed: the content of the options chosen, by group; those of the user's own files are not among them.
        also: further names to suggest for an unknown top-level key.
    """
    _, faults = validate_settings(values, also)
    for group in GROUPS:
        node = values.get(group)
        if not isinstance(node, Mapping) or group not in listed:
            return None
        for key in node:
            place, target = f"{group}.{key}", str(node.get("_target_"))
            if (place in typed) is (key in listed[group]):  # a value that may be wrong, or a key of another file
                return None
            if place in typed and (target in UNLISTED or not target.startswith("qframe.")):
                return None
            if place in typed:
                faults.append(unknown_key(str(key), target, listed[group].keys() - {"_target_"}, group))
    if any(key.partition(".")[0] in GROUPS and key.count(".") > 1 for key in typed):
        return None
    return faults if found or faults else None

