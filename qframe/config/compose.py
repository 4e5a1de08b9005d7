"""Composing a config: the defaults in ``conf/`` and the command line over them, checked as a whole.

Hydra stops at the first unknown key and proposes a ``+`` to force it in. Here every value is forced in, and the check
against the constructors' signatures, which knows the valid keys, then names every unknown one.
"""

import pickle
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from hydra._internal.config_loader_impl import ConfigLoaderImpl, get_overrides_dirname
from hydra._internal.config_repository import CachingConfigRepository
from hydra._internal.defaults_list import DefaultsList, create_defaults_list
from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, Quote, QuotedString
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, ListConfig, OmegaConf, open_dict
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException

from qframe.config.checker import Provided, validate
from qframe.config.hydra_app import (
    CONFIG_NAME,
    SOURCE,
    composition_fault,
    content,
    contradictions,
    first_line,
    groups,
    has,
    hydra_app,
    ignored_options,
    listed_options,
    located,
    options,
    own_contents,
    traversals,
    unpackaged,
)
from qframe.config.hydra_keys import unread
from qframe.config.schema import GROUPS
from qframe.config.score import score_faults
from qframe.config.typos import typos
from qframe.errors import ConfigError, Fault, hint
from qframe.runs.run_name import AUTO, run_name

PRESETS = ("experiment", "sweep")
SEVERAL = (*PRESETS, "logger")
"""Groups of which several options can be chosen together."""
MOST_KEPT = 256
"""Choices of groups whose merged files are kept."""
NOT_OF_THE_DEFAULT_PRESET = {"env", "env.id", "head", "sweep"}
"""Places whose choice makes a run another one than the preset of ``conf/train.yaml`` is tuned for: it is left out."""


@dataclass
class Overrides:
    """The command line as Hydra gets it.

    Args:
        hydra: overrides in Hydra's grammar, values forced in.
        deleted: keys that ``~key`` removes.
        choices: those of ``hydra`` that choose options of groups; the others set values.
        implied: those of ``hydra`` that were not typed, but follow from what was.
        keys: the places that the command line sets.
        single: the overrides with one value.
        swept: the keys with several values.
        broken: groups whose choice is not an option; their other faults would be beside the point.
        faults: found so far.
    """

    hydra: list[str] = field(default_factory=list)
    choices: list[str] = field(default_factory=list)
    implied: list[str] = field(default_factory=list)
    deleted: list[str] = field(default_factory=list)
    keys: set[str] = field(default_factory=set)
    single: list[str] = field(default_factory=list)
    swept: list[str] = field(default_factory=list)
    broken: set[str] = field(default_factory=set)
    faults: list[Fault] = field(default_factory=list)


def read(texts: Iterable[str], loader: ConfigLoader, *, sweep: bool = False) -> Overrides:
    """The overrides with groups and options checked.

    Args:
        texts: as typed, one override each.
        loader: knows the groups and their options.
        sweep: several values (``seed=1,2``) are allowed.
    """
    result = Overrides()
    known = groups(loader)
    for text in (_as_choice(text, known, loader) for text in texts):
        override = parsed(text, loader, result.faults)
        if override is None:
            continue
        key = override.key_or_group
        if override.is_sweep_override():
            result.swept.append(key)
        else:
            result.single.append(text)
        if not key:
            message = f"expected key=value or group=option, got '{text}'"
            result.faults.append(Fault("", message, SOURCE, unknown=True))
        elif override.is_sweep_override() and not sweep:
            message = f"expected one value, got several: '{text}'; add -m to sweep over them, or write a list as [1,2]"
            result.faults.append(Fault(key, message, SOURCE))
        elif key in ("hydra/launcher", "hydra/sweeper") and override.value() not in options(loader, key):
            remedy = hint(str(override.value()), options(loader, key))
            result.faults.append(Fault(key, f"unknown option '{override.value()}'; {remedy}", SOURCE, unknown=True))
        elif override.is_hydra_override() or key == "hydra":
            result.hydra.append(text)
            result.choices += [text] if "/" in key or key == "hydra" else []
            result.keys.add(key)
        elif key in known and not isinstance(override.value(), dict):
            _choice(override, options(loader, key), result, loader)
        elif override.package is not None or "/" in key:
            result.faults.append(Fault(key, f"unknown group; {hint(key, known)}", SOURCE, unknown=True))
        elif override.is_delete():
            result.deleted.append(key)
        else:
            result.keys.add(key)
            result.hydra.append(f"++{text.lstrip('+')}")
    chosen = {text.lstrip("+~").partition("=")[0] for text in result.choices} | result.keys
    if "experiment" in known and "experiment" not in chosen and chosen & NOT_OF_THE_DEFAULT_PRESET:
        for overrides in (result.hydra, result.choices, result.implied):
            overrides.append("~experiment")
    return result


def _as_choice(text: str, known: Sequence[str], loader: ConfigLoader) -> str:
    """``reward.bonus=rnd`` as ``reward=rnd``: options of a group differ in a part, which one of them leaves null."""
    key, _, value = text.lstrip("+").partition("=")
    group, _, part = key.partition(".")
    if group not in known or not part.isidentifier() or not re.fullmatch(r"[a-z]\w*(,[a-z]\w*)*", value):
        return text
    nodes = {name: content(loader, f"{group}/{name}", "").get(part, False) for name in options(loader, group)}
    without = next((name for name, node in nodes.items() if node is None), None)
    if without is None or not any(isinstance(node, dict) for node in nodes.values()) or value == "null":
        return text
    return f"{group}={','.join(without if name == 'none' else name for name in value.split(','))}"


def pinned_folder(kind: str, folder: Path) -> str:
    """The override that fixes the folder of a ``run`` or ``sweep`` to the one that was checked."""
    plain = str(folder).replace("${", r"\${")  # a path is no interpolation
    return f"hydra.{kind}.dir={QuotedString(plain, Quote.single).with_quotes()}"


def parsed(text: str, loader: ConfigLoader, faults: list[Fault]) -> Override | None:
    """One override, parsed by Hydra's grammar; None, with a fault added, if that fails."""
    try:
        return OverridesParser.create(config_loader=loader).parse_overrides([text])[0]
    except HydraException:
        remedy = "; quote values with special characters, as \"name='…'\", and close brackets" if "=" in text else ""
        message = f"expected key=value or group=option, got '{text}'{remedy}"
        faults.append(Fault("", message, SOURCE, unknown=True))
        return None


def _choice(override: Override, known: list[str], result: Overrides, loader: ConfigLoader) -> None:
    group, text = override.key_or_group, override.input_line or ""
    if override.is_delete():
        result.hydra.append(text)
        result.choices.append(text)
        return
    chosen = _options_chosen(override)
    wrong = [name for name in chosen if name not in known]
    for name in wrong:
        remedy = f"leave the group out with '~{group}'" if name == "null" else hint(name, known)
        result.faults.append(Fault(group, f"unknown option '{name}'; {remedy}", SOURCE, unknown=True))
    for name in chosen if group in PRESETS else ():
        if name in known and (file := unpackaged(loader, f"{group}/{name}")):
            message = "its first line must be '# @package _global_', as a preset sets keys at the top of the config"
            result.faults.append(Fault(group, message, file, unknown=True))
            wrong.append(name)
    if not wrong and len(chosen) > 1 and group not in SEVERAL and not override.is_sweep_override():
        message = f"choose one option, or sweep over several with -m {group}={','.join(chosen)}"
        result.faults.append(Fault(group, message, SOURCE, unknown=True))
        wrong = chosen
    if wrong:
        result.broken.add(group)
    else:
        result.hydra.append(text.lstrip("+"))
        result.choices.append(text.lstrip("+"))


def _options_chosen(override: Override) -> list[str]:
    if override.is_discrete_sweep():
        return list(override.sweep_string_iterator())
    value = override.value()
    return ["null" if item is None else str(item) for item in (value if isinstance(value, list) else [value])]


BRINGING = ("env", "memory")
"""Groups whose files may bring choices of other groups along."""
BRINGS_IS_SET = "only the file of an environment or a memory can bring choices along; make them here instead"
SCORE_IS_SET = "no run depends on it; state it in the preset's file, where qframe bench reads it"


@dataclass(frozen=True)
class Composition:
    """A composed config.

    Args:
        config: the checked config as plain values.
        score: the preset's, as plain values; not part of the config, because no run depends on it.
        hydra: Hydra's own part: run folder, sweeper, launcher.
        overrides: the command line, rewritten so that it needs no ``+``.
        faults: all of them.
        files: the composed files as (``group/option``, package), first to last.
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
        overrides: in Hydra's grammar, such as ``trunk=nature`` or ``optimizer.lr=1e-3``; no ``+`` is needed.
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
    values.pop("score", None)  # a preset's, which Hydra passes to a job
    checked, more = validate(values, provided)
    if faults or more:
        raise ConfigError(_merged(faults, more))
    if checked["name"] == AUTO:  # a job that Hydra composed
        checked["name"] = run_name(checked)
    return OmegaConf.create(checked)


class Merged(NamedTuple):
    """The files of one choice of groups, as Hydra merges them.

    Args:
        config: with Hydra's own part and interpolations.
        paths: of the files as (``group/option``, package), first to last.
        own: the content of the user's own files among them, by name.
        brought: the values that the files in ``BRINGING`` bring and no preset sets, by key.
        faults: of the files.
    """

    config: DictConfig
    paths: list[tuple[str, str]]
    own: list[tuple[str, Mapping[str, Any]]]
    brought: dict[str, Any]
    faults: list[Fault]


def composed(
    loader: ConfigLoader,
    texts: Sequence[str],
    provided: Provided,
    *,
    mode: RunMode = RunMode.RUN,
    is_job: bool = False,
) -> Composition:
    """Compose and collect the faults; in a sweep, values that are swept over are left at their defaults.

    Args:
        loader: knows the files.
        texts: the command line.
        provided: constructor parameters given at run time, by place.
        mode: whether several values of a key are a sweep.
        is_job: whether it is a job of a sweep, for which torch is imported already.

    Raises:
        ConfigError: composition itself could not be finished (a broken file, an option that a file names wrongly).
    """
    overrides = read(texts, loader, sweep=mode is RunMode.MULTIRUN)
    try:
        files, hydra = merged_with_values(loader, overrides, mode)
    except Exception as error:  # whatever Hydra raises here comes from a file or an override
        raise ConfigError([*overrides.faults, composition_fault(error, loader, overrides.hydra)]) from error
    deletion_faults = _delete(files.config, overrides.deleted)
    values, faults = plain(files.config)
    score = values.pop("score", None)
    faults += score_faults(score)
    faults += [Fault(key, SCORE_IS_SET, SOURCE) for key in overrides.keys if key.partition(".")[0] == "score"]
    also = [group for group in groups(loader) if "/" not in group]
    early = None
    if not is_job and not files.own:
        early = typos(values, overrides.faults, overrides.keys, listed_options(loader, files.paths), also)
    config, more = validate(values, provided, also) if early is None else (values, early)
    if isinstance(init := config.get("init"), dict) and isinstance(init.get("from"), str):
        config["init"] = {**init, "from": str(Path(init["from"]).expanduser().absolute())}  # jobs may run elsewhere
    if config.get("name") == AUTO:
        swept = [*overrides.swept, *(hydra.sweeper.get("params") or ())] if mode is RunMode.MULTIRUN else []
        preset = hydra.runtime.choices.get("experiment")
        config["name"] = run_name(config, overrides.single, swept, preset=preset)
    found = [*files.faults, *deletion_faults, *_merged(faults, more)]
    found = located(_to_the_point(found, overrides), loader, files.paths, overrides.keys)
    if early is not None:  # reported before torch is imported
        raise ConfigError(overrides.faults + found)
    accepted = [text for text in overrides.hydra if text not in overrides.implied]
    accepted += [f"~{key}" for key in overrides.deleted]
    return Composition(config, score, hydra, accepted, overrides.faults + found, files.paths, overrides.keys)


def merged_with_values(loader: ConfigLoader, overrides: Overrides, mode: RunMode) -> tuple[Merged, DictConfig]:
    """The merged files with the values of the command line, and Hydra's own part, which is taken out."""
    assert isinstance(loader, ConfigLoaderImpl)
    parsed = OverridesParser.create(config_loader=loader).parse_overrides(overrides.hydra)
    loader.validate_sweep_overrides_legal(parsed, run_mode=mode, from_shell=True)
    merged: Merged = pickle.loads(merged_files(loader, tuple(overrides.choices), mode))
    whole, typed = merged.config, {*overrides.keys, *overrides.swept}
    for key, value in merged.brought.items():
        if not any(_is_within(key, place) or _is_within(place, key) for place in typed):
            OmegaConf.update(whole, key, value, force_add=True)
    values = [item for item in parsed if item.input_line not in overrides.choices and not item.is_sweep_override()]
    ConfigLoaderImpl._apply_overrides_to_config(values, whole)
    OmegaConf.set_struct(whole, False)
    hydra = whole.pop("hydra")
    with open_dict(hydra):
        hydra.job.override_dirname = get_overrides_dirname(
            [item for item in parsed if not item.is_hydra_override()], **hydra.job.config.override_dirname
        )
    faults = merged.faults + unread(hydra, merged.paths, merged.own, overrides.keys)
    bringing = [f"{group}.brings" for group in BRINGING]
    typed = [key for key in overrides.keys if any(_is_within(key, place) for place in bringing)]
    faults += [Fault(key, BRINGS_IS_SET, SOURCE) for key in typed]
    return merged._replace(faults=faults), hydra


@lru_cache(maxsize=MOST_KEPT)
def merged_files(loader: ConfigLoaderImpl, choices: tuple[str, ...], mode: RunMode) -> bytes:
    """A pickled :class:`Merged`: Hydra merges the files once per choice of groups, and values are set in a copy.

    Hydra's own ``load_configuration`` computes the list of files but does not return it, and would have to be asked
    for it again.
    """
    defaults, repository = _defaults(loader, choices, mode)
    typed = {text.lstrip("~").partition("=")[0] for text in choices}
    brought = _brought(loader, defaults, typed)
    added = [f"{key}={option}" for key, option in brought.items() if key in groups(loader)]
    if added:
        defaults, repository = _defaults(loader, (*choices, *added), mode)
    whole = loader._compose_config_from_defaults_list(defaults.defaults, repository)
    OmegaConf.set_struct(whole, True)
    OmegaConf.set_readonly(whole.hydra, False)
    with open_dict(whole.hydra):
        whole.hydra.runtime.choices.update(defaults.overrides.known_choices)
        whole.hydra.runtime.cwd = str(Path.cwd())
        whole.hydra.job.name = CONFIG_NAME
    paths = [(item.config_path, item.package or "") for item in defaults.defaults if item.config_path]
    faults = ignored_options(defaults.defaults_tree, loader)
    faults += contradictions(defaults.defaults_tree, loader, typed)
    faults += traversals((path for path, _ in paths), loader)
    values = {key: value for key, value in brought.items() if key not in groups(loader)}
    return pickle.dumps(Merged(whole, paths, own_contents(loader, paths), values, faults))


def _defaults(
    loader: ConfigLoaderImpl, choices: Sequence[str], mode: RunMode
) -> tuple[DefaultsList, CachingConfigRepository]:
    parsed, repository = loader._parse_overrides_and_create_caching_repo(CONFIG_NAME, list(choices))
    is_sweep = mode is RunMode.MULTIRUN
    return create_defaults_list(repository, CONFIG_NAME, parsed, prepend_hydra=True, skip_missing=is_sweep), repository


def _brought(loader: ConfigLoader, defaults: DefaultsList, typed: Collection[str]) -> dict[str, Any]:
    """What the files in ``BRINGING`` bring, without the choices that are typed or that a preset makes itself."""
    found: dict[str, Any] = {}
    for item in defaults.defaults:
        if item.config_path and item.package in BRINGING:
            found |= content(loader, item.config_path, "").get("brings") or {}
    taken = {*typed, *defaults.overrides.override_choices, *defaults.overrides.deletions}
    for item in defaults.defaults if found else ():
        if item.config_path and item.config_path.split("/")[0] in PRESETS:
            taken |= {key for key in found if has(content(loader, item.config_path, ""), key.split("."))}
    return {key: value for key, value in found.items() if not any(_is_within(key, place) for place in taken)}


def _is_within(key: str, place: str) -> bool:
    """Whether a key is a place of the config, or inside it."""
    return key == place or key.startswith(f"{place}.")


def plain(config: DictConfig) -> tuple[dict[str, Any], list[Fault]]:
    """The config as plain values, and a fault for every value that is missing or cannot be interpolated."""
    faults: list[Fault] = []
    values = _plain(config, "", faults)
    for group in BRINGING:
        if isinstance(values.get(group), dict):
            values[group].pop("brings", None)  # read from the file
    return values, faults


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
            faults.append(Fault(place, f"missing; set it with {place}=…"))
        except OmegaConfBaseException as error:
            faults.append(Fault(place, f"cannot be interpolated: {first_line(error)}"))
    return result if isinstance(node, DictConfig) else list(result.values())


def _merged(first: list[Fault], second: list[Fault]) -> list[Fault]:
    """Both lists, without the second's faults at places that the first has named."""
    named = {fault.where for fault in first}
    return first + [fault for fault in second if fault.where not in named]


def _to_the_point(faults: list[Fault], overrides: Overrides) -> list[Fault]:
    """The faults that remain once the unknown options are corrected."""
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
                faults.append(Fault(f"~{key}", "nothing to remove: its value is null", SOURCE))
            del node[name]
        else:
            names = [str(other) for other in node] if isinstance(node, DictConfig) else []
            prefix = f"{parent}." if parent else ""
            faults.append(Fault(f"~{key}", f"there is no such key; {hint(name, names, prefix)}", SOURCE, unknown=True))
    return faults
