"""``qframe diff A B``: the differences between the configs, versions and revisions of two runs."""

import argparse
from pathlib import Path
from typing import Any

from qframe.cli.tables import named_runs, print_table
from qframe.config.defaults import fill_in
from qframe.errors import UserError
from qframe.runs.folder import RunFolder, flat

ABSENT = "–"


def run(arguments: argparse.Namespace) -> int:
    """Print the keys of the configs that differ, then the versions and revisions that do.

    Raises:
        UserError: one of the folders is not that of a single run.
    """
    first, second = _one(arguments.first), _one(arguments.second)
    for one in (first, second):
        fill_in(one.config)
    rows = differences(flat(first.config), flat(second.config))
    about = ("versions", "git", "picked")
    facts = [flat({key: run.manifest.get(key) or {} for key in about}) for run in (first, second)]
    more = [row for row in differences(*facts) if {row[1], row[2]} != {ABSENT, "{}"}]
    if rows:
        print_table(("key", "A", "B"), rows)
    else:
        print("the configs are equal")
    if more:
        print()
        print_table(("outside the config", "A", "B"), more)
    return 0


def differences(first: dict[str, Any], second: dict[str, Any]) -> list[tuple[str, str, str]]:
    """The keys whose values differ, with both values; "–" for a missing key.

    >>> differences({"seed": 1, "gamma": 0.9}, {"seed": 2, "gamma": 0.9, "head.num_atoms": 51})
    [('seed', '1', '2'), ('head.num_atoms', '–', '51')]
    """
    keys = list(dict.fromkeys([*first, *second]))
    missing = object()
    changed = [key for key in keys if first.get(key, missing) != second.get(key, missing)]
    return [(key, _text(first, key), _text(second, key)) for key in changed]


def _text(config: dict[str, Any], key: str) -> str:
    return ABSENT if key not in config else "null" if config[key] is None else str(config[key])


def _one(path: Path) -> RunFolder:
    runs = named_runs([path])
    if len(runs) > 1:
        raise UserError(f"'{path}' holds {len(runs)} runs; name one of them, as {runs[0].path}")
    if not runs[0].config:
        raise UserError(f"cannot read {runs[0].config_file}; restore it from a copy")
    return runs[0]
