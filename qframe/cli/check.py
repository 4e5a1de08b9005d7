"""``qframe check``: all faults of a config at once, or a summary of what it would train."""

import argparse

from qframe.cli.arguments import add_config_arguments, apply_trust
from qframe.config import build
from qframe.config.compose import compose
from qframe.config.errors import ConfigError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Overrides, ``--config-dir`` and ``--trust``."""
    add_config_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    """Compose, check every key against the constructors, and build all that can be built without a run.

    Raises:
        ConfigError: with all faults at once.
    """
    apply_trust(arguments.trust)
    config = compose(arguments.overrides, arguments.config_dir, provided=build.PROVIDED)
    faults = build.check(config)
    if faults:
        raise ConfigError(faults)
    parts = build.describe(config)
    width = max(map(len, parts), default=0)
    for name, text in parts.items():
        print(f"{name:<{width}}  {text}")
    print("no faults found")
    return 0
