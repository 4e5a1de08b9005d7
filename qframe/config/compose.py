"""Composing a config: the defaults in ``conf/``, the command line over them, checked as a whole."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra.core.config_loader import ConfigLoader
from hydra.types import RunMode
from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException

from qframe.config.hydra_app import CONFIG_NAME, groups, hydra_app
from qframe.config.hydra_faults import composition_fault, first_line, ignored_options, traversals
from qframe.config.hydra_keys import unread
from qframe.config.overrides import SOURCE, Overrides, read
from qframe.config.provenance import located, own_contents
from qframe.config.schema import GROUPS
from qframe.config.score import score_faults
from qframe.config.validate import Provided, validate
from qframe.errors import ConfigError, Fault, hint

SCORE_IS_SET = "no run depends on it; state it in the preset's file, where qframe bench reads it"


@dataclass(frozen=True)
class Composition:
    """A composed config.

    Args:
        config: the checked config as plain values.
        score: the preset's, as plain values. It is no part of the config: runs do not differ by it.
        hydra: Hydra's own part: run folder, sweeper, launcher.
        overrides: the command line in the form that composes without a ``+``.
        faults: all that is wrong.
        files: what it is composed of, as (``group/option``, package), first to last.
        keys: the places that the command line sets.
    """

    config: dict[str, Any]
    score: Any
    hydra: DictConfig
    overrides: list[str]
    faults: list[Fault]
    files: list[tuple[str, str]]
    keys: set[str]


def compose(
    overrides: Sequence[str] = (), config_dir: str | Path | None = None, *, provided: Provided | None = None
) -> DictConfig:
    """The config that the command line describes, resolved, with its numbers normalised.

    Args:
        overrides: in Hydra's grammar, as ``network=conv`` or ``optimizer.lr=1e-3``; no ``+`` is needed.
        config_dir: the user's own folder of YAML.
        provided: constructor parameters given at run time, by place: ``build.PROVIDED``.

    Raises:
        ConfigError: with all faults at once.
    """
    with hydra_app(config_dir) as app:
        composition = composed(app.config_loader, overrides, provided or {})
    if composition.faults:
        raise ConfigError(composition.faults)
    return OmegaConf.create(composition.config)


def recheck(config: DictConfig, provided: Provided) -> DictConfig:
    """A composed config, or one read from a run folder, checked and normalised as :func:`compose` does.

    Raises:
        ConfigError: with all faults at once.
    """
    values, faults = plain(config)
    values.pop("score", None)  # as Hydra hands a preset's to a job
    checked, more = validate(values, provided)
    if faults or more:
        raise ConfigError(_merged(faults, more))
    return OmegaConf.create(checked)


def composed(
    loader: ConfigLoader, texts: Sequence[str], provided: Provided, *, mode: RunMode = RunMode.RUN
) -> Composition:
    """Compose and collect the faults; in a sweep, values that are swept over are left at their defaults.

    Raises:
        ConfigError: composition itself could not be finished (a broken file, an option that a file names wrongly).
    """
    overrides = read(texts, loader, sweep=mode is RunMode.MULTIRUN)
    try:
        whole = loader.load_configuration(CONFIG_NAME, overrides.hydra, run_mode=mode)
        defaults = loader.compute_defaults_list(CONFIG_NAME, overrides.hydra, mode)
    except Exception as error:  # whatever Hydra raises here comes from a file or an override
        raise ConfigError([*overrides.faults, composition_fault(error, loader)]) from error
    OmegaConf.set_struct(whole, False)
    hydra = whole.pop("hydra")
    deletion_faults = _delete(whole, overrides.deleted)
    values, faults = plain(whole)
    score = values.pop("score", None)
    faults += score_faults(score)
    faults += [Fault(key, SCORE_IS_SET, SOURCE) for key in overrides.keys if key.partition(".")[0] == "score"]
    config, more = validate(values, provided, also=[group for group in groups(loader) if "/" not in group])
    files = [(d.config_path, d.package or "") for d in defaults.defaults if d.config_path]
    of_hydra = ignored_options(defaults.defaults_tree, loader)
    of_hydra += unread(hydra, files, own_contents(loader, files), overrides.keys)
    of_hydra += traversals((path for path, _ in files), loader)
    found = [*of_hydra, *deletion_faults, *_merged(faults, more)]
    found = located(_to_the_point(found, overrides), loader, files, overrides.keys)
    accepted = overrides.hydra + [f"~{key}" for key in overrides.deleted]
    return Composition(config, score, hydra, accepted, overrides.faults + found, files, overrides.keys)


def plain(config: DictConfig) -> tuple[dict[str, Any], list[Fault]]:
    """The config as plain values, and a fault for every value that is missing or leads nowhere."""
    faults: list[Fault] = []
    return _plain(config, "", faults), faults


def _plain(node: Any, where: str, faults: list[Fault]) -> Any:
    places: dict[Any, str]
    if isinstance(node, DictConfig):
        places = {key: f"{where}.{key}".lstrip(".") for key in node}
    elif isinstance(node, ListConfig):
        places = {index: f"{where}[{index}]" for index in range(len(node))}
    else:
        return node
    result: dict[Any, Any] = {}
    for key, place in places.items():
        try:
            result[key] = _plain(node[key], place, faults)
        except MissingMandatoryValue:
            faults.append(Fault(place, f"missing; set it by {place}=…"))
        except OmegaConfBaseException as error:
            faults.append(Fault(place, f"its interpolation leads nowhere: {first_line(error)}"))
    return result if isinstance(node, DictConfig) else list(result.values())


def _merged(first: list[Fault], second: list[Fault]) -> list[Fault]:
    """Both lists, without what the second says about a place that the first has named already."""
    named = {fault.where for fault in first}
    return first + [fault for fault in second if fault.where not in named]


def _to_the_point(faults: list[Fault], overrides: Overrides) -> list[Fault]:
    """The faults that still stand once the choices that are no options are corrected."""
    choices = {group.split("/")[0] for group in overrides.broken}
    if choices - set(GROUPS):  # a preset: it may choose any group
        choices |= set(GROUPS)
    return [fault for fault in faults if re.split(r"[.\[]", fault.where)[0] not in choices]


def _delete(config: DictConfig, keys: Iterable[str]) -> list[Fault]:
    faults = []
    for key in keys:
        parent, _, name = key.rpartition(".")
        node = OmegaConf.select(config, parent) if parent else config
        if isinstance(node, DictConfig) and name in node:
            if node._get_node(name)._is_none():  # pyright: ignore
                faults.append(Fault(f"~{key}", "its value is null: there is nothing to take out", SOURCE))
            del node[name]
        else:
            names = [str(other) for other in node] if isinstance(node, DictConfig) else []
            prefix = f"{parent}." if parent else ""
            faults.append(Fault(f"~{key}", f"there is no such key; {hint(name, names, prefix)}", SOURCE, unknown=True))
    return faults
