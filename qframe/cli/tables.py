"""Finding the runs that a command names, and printing a table of them."""

import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import yaml
from rich.console import Console
from rich.table import Table
from rich.text import Text

from qframe.errors import UserError, hint
from qframe.runs.folder import RunFolder, find_runs, flat

OUTPUTS = Path("outputs")


def named_runs(paths: Iterable[Path]) -> list[RunFolder]:
    """The runs at or under these folders, each once.

    Raises:
        UserError: a folder does not exist, or has no run in it.
    """
    found: dict[Path, RunFolder] = {}
    for path in paths:
        if not path.is_dir():
            raise UserError(f"'{path}' is not a folder; name the folder of a run, or one with runs in it")
        runs = find_runs(path)
        if not runs:
            raise UserError(f"there is no run in '{path}'; qframe train writes its runs to {OUTPUTS}/")
        found |= {run.path.resolve(): run for run in runs}
    return list(found.values())


def matching(runs: list[RunFolder], conditions: Sequence[str]) -> list[RunFolder]:
    """The runs with these values in their configs.

    Args:
        runs: to choose from.
        conditions: ``KEY=VALUE`` each.

    Raises:
        UserError: a condition has no value, or no run has its key.
    """
    for condition in conditions:
        key, separator, text = condition.partition("=")
        if not separator:
            raise UserError(f"--where: '{condition}' is not KEY=VALUE, as env.id=CartPole-v1")
        keys = {name for run in runs for name in flat(run.config)}
        if runs and key not in keys:
            raise UserError(f"--where: no run has the key '{key}'; {hint(key, keys)}")
        runs = [run for run in runs if key in (config := flat(run.config)) and _equals(config[key], text)]
    return runs


def _equals(value: Any, text: str) -> bool:
    try:
        meant = yaml.safe_load(text)
        number = float(text) if isinstance(value, int | float) and not isinstance(value, bool) else None
    except (yaml.YAMLError, ValueError):
        meant = number = None
    return str(value) == text or value == meant or (number is not None and value == number)


def print_table(headers: Sequence[str], rows: Iterable[Sequence[str]], *, numbers: Iterable[str] = ()) -> None:
    """Print a table without interpreting markup in its cells; the columns in ``numbers`` are aligned right."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for header in headers:
        table.add_column(header, justify="right" if header in set(numbers) else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    Console(width=None if sys.stdout.isatty() else 200, soft_wrap=not sys.stdout.isatty()).print(table)
