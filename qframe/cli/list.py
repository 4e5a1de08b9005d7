"""``qframe list``: the groups of the config, their options with the first line of each file, or one file as a whole."""

import argparse
from collections.abc import Iterator

from hydra.core.config_loader import ConfigLoader

from qframe.config.hydra_app import config_file, groups, hydra_app, options
from qframe.config.score import preset_score
from qframe.errors import ConfigError, Fault, hint
from qframe.formatting import format_path

PRESETS = "experiment"


def run(arguments: argparse.Namespace) -> int:
    """Print the options.

    Raises:
        ConfigError: there is no such group or option, or a preset's score has faults.
    """
    with hydra_app(arguments.config_dir) as app:
        loader = app.config_loader
        known = [group for group in groups(loader) if options(loader, group)]
        group, _, option = (arguments.group or "").rpartition("/")
        if group in known and option not in known:
            if option not in options(loader, group):
                raise ConfigError([Fault(group, f"unknown option '{option}'; {hint(option, options(loader, group))}")])
            file = config_file(loader, arguments.group)
            print(f"# {format_path(file)}\n{file.read_text(encoding='utf-8').rstrip()}" if file else "")
            return 0
        if arguments.group is not None and arguments.group not in known:
            raise ConfigError([Fault(arguments.group, f"unknown group; {hint(arguments.group, known)}")])
        chosen = [arguments.group] if arguments.group else known
        width = max(len(name) for group in chosen for name in options(loader, group))
        for group in chosen:
            print(f"{group}")
            for name in options(loader, group):
                print(f"  {name:<{width}}  {describe(loader, f'{group}/{name}')}".rstrip())
                for line in _score(loader, name) if arguments.group == PRESETS else ():
                    print(f"  {'':<{width}}  {line}")
    return 0


def describe(loader: ConfigLoader, config_path: str) -> str:
    """The first comment line of an option's file; empty if there is none."""
    file = config_file(loader, config_path)
    lines = file.read_text(encoding="utf-8").splitlines() if file else []
    comments = [line.lstrip("# ").strip() for line in lines if line.startswith("#") and "@package" not in line]
    return comments[0] if comments else ""


def _score(loader: ConfigLoader, preset: str) -> Iterator[str]:
    """All that a preset states of its score."""
    score = preset_score(loader, preset)
    if score is None:
        return
    yield f"  {score.algorithm}: IQM of {score.metric} over {score.seeds} seeds at least {score.expected:g}"
    yield f"  protocol: {score.protocol}"
    if score.source:
        name, published, protocol = (score.source.get(key, "?") for key in ("name", "score", "protocol"))
        yield f"  published: {published} by {name} ({protocol})"
