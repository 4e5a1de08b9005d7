"""``qframe check``: report all faults of a config at once, or else the parts that it would train."""

import argparse
import json
from collections.abc import Iterator, Mapping
from typing import Any

from hydra.core.config_loader import ConfigLoader

from qframe.config.compose import Composition, composed
from qframe.config.hydra_app import comments, hydra_app, sources
from qframe.config.schema import PROVIDED
from qframe.config.targets import apply_trust
from qframe.formatting import format_count
from qframe.runs.folder import flat

COMMENT = 56  # the column of comments


def run(arguments: argparse.Namespace) -> int:
    """Compose the config, check every key against the constructors, and build all parts that need no run folder.

    Raises:
        ConfigError: with all faults at once.
    """
    apply_trust(arguments.trust)
    with hydra_app(arguments.config_dir) as app:
        # A config that is printed is composed to its end, as a job's is, whatever faults it has.
        composition = composed(app.config_loader, arguments.overrides, PROVIDED, is_job=arguments.prints)
        if arguments.prints:
            print("\n".join(_explained(composition, app.config_loader)))
    from qframe.config import advice, build, description  # not at the top: see typos.py

    assembly = build.Assembly(composition.config, composition.faults).checked()
    parts = description.describe(assembly)
    width = max(map(len, parts), default=0)
    for name, text in parts.items():
        print(f"{name:<{width}}  {text}")
    for line in (found := advice.config_warnings(assembly.parts, assembly.config)):
        print(line)
    print("no faults found" + (f", {format_count(len(found), 'warning')}" if found else ""))
    return 0


def _explained(composition: Composition, loader: ConfigLoader) -> Iterator[str]:
    """The config as YAML; a comment names the file of each value and repeats the comment there."""
    config = composition.config | {"score": composition.score}
    origin = sources(flat(config), loader, composition.files, composition.keys)
    meaning = comments(loader, composition.files)
    notes = {place: f"{file}: {meaning[place]}" if place in meaning else file for place, file in origin.items()}
    yield from _lines(config, "", notes)
    yield ""


def _lines(config: Mapping[str, Any], prefix: str, notes: Mapping[str, str]) -> Iterator[str]:
    indent = "  " * prefix.count(".")
    for key, value in config.items():
        if isinstance(value, Mapping) and value:
            yield f"{indent}{key}:"
            yield from _lines(value, f"{prefix}{key}.", notes)
        else:
            text = value if _is_plain(value) else json.dumps(value, default=str)
            yield f"{indent}{key}: {text}".ljust(COMMENT) + f"  # {notes[f'{prefix}{key}']}"


def _is_plain(value: Any) -> bool:
    """Whether a text needs no quotes in YAML."""
    words = ("true", "false", "null", "yes", "no", "on", "off")
    is_word = isinstance(value, str) and value.replace(".", "").replace("_", "").replace("-", "").isalnum()
    return is_word and value[0].isalpha() and value.lower() not in words
