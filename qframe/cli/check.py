"""``qframe check``: all faults of a config at once, or a summary of what it would train."""

import argparse

from qframe.cli.arguments import add_config_arguments, apply_trust
from qframe.config import build
from qframe.config.compose import composed
from qframe.config.errors import ConfigError
from qframe.config.hydra_app import hydra_app


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Overrides, ``--config-dir`` and ``--trust``."""
    add_config_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    """Compose, check every key against the constructors, and build all that can be built without a run.

    Raises:
        ConfigError: with all faults at once.
    """
    apply_trust(arguments.trust)
    with hydra_app(arguments.config_dir) as app:
        composition = composed(app.config_loader, arguments.overrides, build.PROVIDED)
    faults = build.check(composition.config, composition.faults)
    if faults:
        raise ConfigError(faults)
    parts = build.describe(composition.config)
    width = max(map(len, parts), default=0)
    for name, text in parts.items():
        print(f"{name:<{width}}  {text}")
    print("no faults found")
    return 0
