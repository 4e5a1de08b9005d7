"""``qframe init``: a project with an environment, a head, a preset and tests of its own, which trains at once."""

import argparse
import importlib.util
import keyword
import re
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path

from qframe.errors import UserError
from qframe.formatting import format_command

PLACEHOLDER = "my_lab"
FOLDERS = ("conf", "tests")


def run(arguments: argparse.Namespace) -> int:
    """Write the project and print the commands that train and test it.

    Raises:
        UserError: the folder has files in it, or its name cannot be that of a package.
    """
    folder: Path = arguments.folder
    package = package_name(folder.absolute().name)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(f"'{folder}' exists and is not an empty folder; choose another")
    for name, text in project(package).items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    print(f"Wrote {folder}. Train, then test it:\n")
    print(f"  {format_command('cd', folder)}")
    print(f"  qframe train --config-dir conf --trust {package} experiment=corridor\n  pytest")
    return 0


def package_name(folder: str) -> str:
    """The Python package's name for a folder.

    >>> package_name("My-Lab")
    'my_lab'

    Raises:
        UserError: it is no identifier, or the name of a module that exists.
    """
    name = re.sub(r"[-. ]+", "_", folder).lower()
    if not name.isidentifier() or keyword.iskeyword(name):
        raise UserError(f"'{folder}' cannot name a Python package; choose a name of letters and underscores")
    spec = importlib.util.find_spec(name)
    if name in FOLDERS or (spec is not None and spec.origin is not None):
        raise UserError(f"'{name}' is the name of another module; choose another folder name")
    return name


def project(package: str) -> dict[str, str]:
    """The files of a project: their paths in its folder, and their text."""
    return {
        path.replace("package", package): text.replace(PLACEHOLDER, package)
        for path, text in _templates(files("qframe.cli") / "project").items()
    }


def _templates(folder: Traversable, prefix: str = "") -> dict[str, str]:
    """The templates below a folder; ``.template`` hides Python files from test and lint tools."""
    found: dict[str, str] = {}
    for entry in sorted(folder.iterdir(), key=lambda entry: entry.name):
        if entry.is_dir():
            found |= _templates(entry, f"{prefix}{entry.name}/")
        else:
            found[prefix + entry.name.removesuffix(".template")] = entry.read_text(encoding="utf-8")
    return found
