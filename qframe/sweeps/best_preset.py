"""The best trial of a search as a preset file that trains it."""

import shlex
from typing import Any

import yaml
from hydra.core.config_loader import ConfigLoader

from qframe.config.schema import GROUPS
from qframe.formatting import format_path
from qframe.runs.folder import flat, read_json
from qframe.sweeps.folder import Overrides, SweepFolder
from qframe.sweeps.job_spec import composition

LEFT_OUT = ("seed", "name")


def write_preset(folder: SweepFolder, loader: ConfigLoader, overrides: Overrides) -> str:
    """Write ``presets/experiment/best.yaml``, which extends the preset that the search started from.

    Args:
        folder: the sweep's.
        loader: composes configs.
        overrides: of a job of the best trial.

    Returns:
        The file, and the command that trains it.
    """
    best = composition(loader, overrides)
    preset = best.hydra.runtime.choices.get("experiment")
    base = (f"experiment={preset}",)
    shared = composition(loader, base).files
    chosen = [path.rpartition("/")[::2] for path, _ in best.files if path not in dict(shared)]
    choices = {group: option for group, option in chosen if group in GROUPS}
    before = flat(composition(loader, (*base, *(f"{group}={option}" for group, option in choices.items()))).config)
    after = {key: value for key, value in flat(best.config).items() if key not in LEFT_OUT}
    content: dict[str, Any] = {"defaults": [*([preset] if preset else ()), *_overrides(choices)]}
    for key, value in after.items():
        if key not in before or before[key] != value:
            *parents, last = key.split(".")
            node = content
            for parent in parents:
                node = node.setdefault(parent, {})
            node[last] = value
    file = folder.path / "presets" / "experiment" / "best.yaml"
    file.parent.mkdir(parents=True, exist_ok=True)
    text = yaml.safe_dump(content, sort_keys=False, allow_unicode=True)
    comment = f"# @package _global_\n# The best trial of the search in {folder.path.name}\n"
    file.write_text(comment + text, encoding="utf-8")
    own = read_json(folder.record).get("config_dir")
    if own:
        place = f"qframe train --config-dir {shlex.quote(own)} experiment=best"
        return f"{format_path(file)}; copy it to {own}/experiment/ and train it: {place}"
    return f"{format_path(file)}; qframe train --config-dir {shlex.quote(format_path(file.parents[1]))} experiment=best"


def _overrides(choices: dict[str, str]) -> list[dict[str, str]]:
    return [{f"override /{group}": option} for group, option in choices.items()]
