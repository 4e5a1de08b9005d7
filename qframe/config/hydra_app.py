"""The Hydra adapter: starts Hydra on ``conf/``, lists groups and files, locates values, turns errors into faults."""

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

import yaml
from hydra import version
from hydra._internal.hydra import Hydra
from hydra._internal.utils import create_config_search_path
from hydra.core.config_loader import ConfigLoader
from hydra.core.config_search_path import SearchPathQuery
from hydra.core.default_element import DefaultsTreeNode, InputDefault
from hydra.core.global_hydra import GlobalHydra
from hydra.core.object_type import ObjectType
from hydra.errors import HydraException, MissingConfigException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import MarkedYAMLError

import qframe
from qframe.config.schema import SETTINGS
from qframe.errors import ConfigError, Fault, hint
from qframe.formatting import format_path

SOURCE = "command line"
"""The source of a value that no file sets."""
CONFIG_NAME = "train"


@cache
def conf_dir() -> Path:
    """The folder of qframe's YAML: the checkout's ``conf/`` if there is one, else the copy inside the package."""
    package = Path(qframe.__file__).resolve().parent
    checkout = package.parent / "conf"
    is_checkout = (checkout / f"{CONFIG_NAME}.yaml").is_file() and (package.parent / "pyproject.toml").is_file()
    return checkout if is_checkout else package / "conf"


@contextmanager
def hydra_app(config_dir: str | Path | None = None) -> Iterator[Hydra]:
    """Hydra on qframe's ``conf/`` and, after it, the user's own folder.

    A Hydra application that the process already runs is set aside and restored at the end.

    Args:
        config_dir: a folder with further options, such as ``network/my_net.yaml``; None for none.

    Raises:
        ConfigError: the folder does not exist, or one of its files has the name of one of qframe's.
    """
    version.setbase("1.3")
    search_path = create_config_search_path(f"file://{conf_dir()}")
    if config_dir is not None:
        own = Path(config_dir).expanduser().resolve()
        _check_own_folder(own)
        search_path.prepend("command-line", f"file://{own}", anchor=SearchPathQuery(provider="schema"))
    state = GlobalHydra.instance()
    outer, state.hydra = state.hydra, None
    try:
        yield Hydra.create_main_hydra2(task_name="qframe", config_search_path=search_path)
    finally:
        state.hydra = outer


@lru_cache(maxsize=128)
def groups(loader: ConfigLoader, parent: str = "") -> tuple[str, ...]:
    """All groups but Hydra's own, nested ones as ``network/trunk``."""
    found = [f"{parent}/{name}" if parent else name for name in _entries(loader, parent, ObjectType.GROUP)]
    found = [group for group in found if group != "hydra"]
    return tuple(name for group in found for name in (group, *groups(loader, group)))


def options(loader: ConfigLoader, group: str) -> list[str]:
    """The options of a group, sorted."""
    return _entries(loader, group, ObjectType.CONFIG)


def _entries(loader: ConfigLoader, group: str, kind: ObjectType) -> list[str]:
    # The loader's own get_group_options copies everything it holds at each call, which takes 10 ms.
    sources = [source for source in loader.get_sources() if source.is_group(group)]
    return sorted({name for source in sources for name in source.list(group, results_filter=kind)})


def config_file(loader: ConfigLoader, config_path: str) -> Path | None:
    """The YAML file of ``group/option``, or None if no folder has it."""
    for source in loader.get_sources():
        if source.scheme() == "file" and source.is_config(config_path):
            return Path(source.path) / f"{config_path}.yaml"
    return None


def is_qframes(file: Path) -> bool:
    """Whether a YAML file is one of qframe's own."""
    return file.is_relative_to(conf_dir())


def yaml_files(loader: ConfigLoader) -> list[Path]:
    """All YAML files of qframe's folder and the user's."""
    folders = [Path(source.path) for source in loader.get_sources() if source.scheme() == "file"]
    return sorted(file for folder in folders for file in folder.rglob("*.yaml"))


def _check_own_folder(own: Path) -> None:
    if not own.is_dir():
        raise ConfigError([Fault("--config-dir", f"'{own}' is not a folder; name one with YAML files")])
    names = sorted(path.relative_to(own) for path in own.rglob("*.yaml"))
    twins = [name for name in names if (conf_dir() / name).is_file()]
    different = [name for name in twins if (conf_dir() / name).read_bytes() != (own / name).read_bytes()]
    message = "qframe has an option of this name, which would take precedence; rename the file"
    if different:
        raise ConfigError([Fault("--config-dir", message, source=format_path(own / name)) for name in different])


def located(
    faults: Collection[Fault], loader: ConfigLoader, files: Collection[tuple[str, str]], keys: Collection[str]
) -> list[Fault]:
    """The faults, each with its source: the command line, or the last file that sets the value.

    Args:
        faults: to be located.
        loader: finds the files.
        files: composed files as (``group/option``, package), first to last.
        keys: the places that the command line sets.
    """
    if not faults:
        return []
    contents = [(file_name(loader, path), content(loader, path, package)) for path, package in files]
    return [fault if fault.source else _located(fault, _source(fault.where, contents, keys)) for fault in faults]


def _located(fault: Fault, source: str) -> Fault:
    """The fault with its source; a preset's key that the option chosen does not have can be left out."""
    is_left_over = fault.message.startswith("unknown key") and "/experiment/" in source
    remedy = f"; leave it out with '~{fault.where}'" if is_left_over else ""
    return replace(fault, message=fault.message + remedy, source=source)


def sources(
    places: Iterable[str], loader: ConfigLoader, files: Collection[tuple[str, str]], keys: Collection[str]
) -> dict[str, str]:
    """Where the value at each place of the config was set: the command line, or a file.

    Args:
        places: such as ``env.num_envs``.
        loader: finds the files.
        files: composed files as (``group/option``, package), first to last.
        keys: the places that the command line sets.
    """
    contents = [(file_name(loader, path), content(loader, path, package)) for path, package in files]
    return {place: _source(place, contents, keys) for place in places}


def comments(loader: ConfigLoader, files: Iterable[tuple[str, str]]) -> dict[str, str]:
    """The comment after each key in the YAML files, by place; that of a later file wins.

    Args:
        loader: finds the files.
        files: composed files as (``group/option``, package), first to last.
    """
    found: dict[str, str] = {}
    for config_path, package in files:
        file = config_file(loader, config_path)
        text = file.read_text(encoding="utf-8") if file else ""
        prefix = "" if package == "_global_" else f"{package}." if package else ""
        found |= _comments(yaml.compose(text, Loader=yaml.SafeLoader), text.splitlines(), prefix)
    return found


def _comments(node: yaml.Node | None, lines: list[str], prefix: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for key, value in node.value if isinstance(node, yaml.MappingNode) else ():
        place = f"{prefix}{key.value}"
        is_one_line = not (isinstance(value, yaml.MappingNode) and value.flow_style)
        if is_one_line and (comment := re.search(r"\s#\s*(.+)", lines[key.start_mark.line])):
            found[place] = comment[1]
        found |= _comments(value, lines, f"{place}.")
    return found


def own_contents(loader: ConfigLoader, files: Iterable[tuple[str, str]]) -> list[tuple[str, Mapping[str, Any]]]:
    """The content of the files that are not qframe's own, by name and at its place in the config."""
    own = [(path, package) for path, package in files if (file := config_file(loader, path)) and not is_qframes(file)]
    return [(file_name(loader, path), content(loader, path, package)) for path, package in own]


def listed_options(loader: ConfigLoader, files: Iterable[tuple[str, str]]) -> dict[str, dict[str, Any]]:
    """The content of qframe's own options among the files, by group."""
    listed: dict[str, dict[str, Any]] = {}
    for path, package in files:
        if package and path.startswith(f"{package}/") and (file := config_file(loader, path)) and is_qframes(file):
            listed[package] = {**listed.get(package, {}), **content(loader, path, "")}
    return listed


def _source(where: str, contents: list[tuple[str, Mapping[str, Any]]], keys: Collection[str]) -> str:
    steps = re.findall(r"[^.\[\]]+", where)
    while steps:
        place = ".".join(steps)
        if steps[-1].isdigit() and ".".join(steps[:-1]) in keys:  # an item of a list that the command line replaced
            return SOURCE
        is_typed = any(key == place or key.startswith(f"{place}.") for key in keys)
        if is_typed and (len(steps) > 1 or place in keys or place in SETTINGS):
            return SOURCE
        for path, content in reversed(contents):
            if has(content, steps):
                return path
        steps.pop()
    return ""


def content(loader: ConfigLoader, config_path: str, package: str) -> Mapping[str, Any]:
    """The content of the YAML file of ``group/option`` at its place in the config; {} if no folder has it."""
    file = config_file(loader, config_path)
    node: Any = _read(file, file.stat().st_mtime_ns) if file else {}
    for step in reversed([step for step in package.split(".") if step not in ("", "_global_")]):
        node = {step: node}
    return node


@lru_cache(maxsize=1_000)
def _read(file: Path, changed: int) -> Any:
    return yaml.load(file.read_bytes(), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)) or {}


def has(content: Any, steps: Sequence[str]) -> bool:
    """Whether a nested content has the place that these steps lead to."""
    for step in steps:
        if isinstance(content, list) and step.isdigit() and int(step) < len(content):
            content = content[int(step)]
        elif isinstance(content, Mapping) and step in content:
            content = content[step]
        else:
            return False
    return True


def file_name(loader: ConfigLoader, config_path: str) -> str:
    """The YAML file of ``group/option``, as a user in the current folder would type it."""
    file = config_file(loader, config_path)
    return format_path(file) if file else f"{config_path}.yaml"


def ignored_options(tree: DefaultsTreeNode | InputDefault, loader: ConfigLoader) -> list[Fault]:
    """A fault for every option that a defaults list marks ``optional`` and that does not exist: Hydra only drops it."""
    if not isinstance(tree, DefaultsTreeNode):
        return []
    faults = []
    for child in tree.children or []:
        node = child.node if isinstance(child, DefaultsTreeNode) else child
        if not node.is_virtual() and node.is_deleted() and node.is_optional():
            faults.append(_no_option(node.get_config_path(), tree.node.get_config_path(), loader))
        faults += ignored_options(child, loader)
    return [fault for fault in faults if not fault.where.startswith("hydra")]


def contradictions(tree: DefaultsTreeNode | InputDefault, loader: ConfigLoader, typed: Collection[str]) -> list[Fault]:
    """A fault for every group for which two presets choose different options; one that extends the other may.

    Args:
        tree: of the files.
        loader: finds the files.
        typed: the places that the command line sets, which win.
    """
    chosen: dict[str, list[tuple[str, str, tuple[str, ...]]]] = {}
    for path, ancestors in _presets(tree, ()):
        for group, option in _overridden(loader, path):
            chosen.setdefault(group, []).append((option, path, ancestors))
    faults = []
    for group, choices in chosen.items():
        option, path, ancestors = choices[0]
        for other, other_path, other_ancestors in choices[1:]:
            if group not in typed and other != option and path not in other_ancestors and other_path not in ancestors:
                files = f"{file_name(loader, path)} chooses {option}, {file_name(loader, other_path)} {other}"
                message = f"two presets contradict each other: {files}; type {group}=…"
                faults.append(Fault(group, message, SOURCE, unknown=True))
    return faults


def _presets(
    tree: DefaultsTreeNode | InputDefault, ancestors: tuple[str, ...]
) -> Iterator[tuple[str, tuple[str, ...]]]:
    """The presets of a tree of files, each with those that it is part of."""
    node = tree.node if isinstance(tree, DefaultsTreeNode) else tree
    path = "" if node.is_virtual() or node.is_deleted() or node.is_missing() else node.get_config_path()
    if path.split("/")[0] in ("experiment", "sweep"):
        yield path, ancestors
    for child in (tree.children or []) if isinstance(tree, DefaultsTreeNode) else []:
        yield from _presets(child, (*ancestors, path))


def _overridden(loader: ConfigLoader, config_path: str) -> Iterator[tuple[str, str]]:
    """The groups for which the defaults list of a file overrides the option, with that option."""
    for entry in content(loader, config_path, "").get("defaults") or []:
        for key, option in entry.items() if isinstance(entry, dict) else ():
            if str(key).startswith("override /"):
                yield str(key).removeprefix("override /"), str(option)


def _no_option(config_path: str, parent: str, loader: ConfigLoader) -> Fault:
    group, _, name = config_path.rpartition("/")
    inside, _, meant = group.partition("/")
    if inside in ("experiment", "sweep") and meant in groups(loader):
        message = f"its defaults list must say 'override /{meant}: {name}', as a preset changes a choice made before"
        return Fault(inside, message, file_name(loader, parent), unknown=True)
    files = [format_path(file) for file in yaml_files(loader) if _chooses(file, group, name)]
    source = " or ".join(files) or file_name(loader, parent)
    return Fault(group, f"unknown option '{name}'; {hint(name, options(loader, group))}", source, unknown=True)


def _chooses(file: Path, group: str, name: str) -> bool:
    """Whether the file's defaults list names this option; Hydra reports only the first list that names the group."""
    try:
        content = OmegaConf.to_container(OmegaConf.load(file), resolve=False)
    except (MarkedYAMLError, OSError):
        return False
    listed = content.get("defaults") if isinstance(content, dict) else None
    for entry in listed if isinstance(listed, list) else []:
        for key, value in entry.items() if isinstance(entry, dict) else []:
            named = str(key).split()[-1].split("@")[0].lstrip("/")  # of "override /head@package"
            if value == name and (group == named or group.endswith(f"/{named}")):
                return True
    return False


def unpackaged(loader: ConfigLoader, config_path: str) -> str:
    """The file of a preset, if it does not say that its keys belong at the top of the config; else ""."""
    file = config_file(loader, config_path)
    is_packaged = file is None or re.search(r"^#\s*@package\s+_global_", file.read_text(encoding="utf-8"), re.MULTILINE)
    return "" if is_packaged else file_name(loader, config_path)


def traversals(paths: Iterable[str | None], loader: ConfigLoader) -> list[Fault]:
    """A fault for every option whose name leads out of the folders of configuration."""
    led_out = [path for path in paths if path and (".." in path.split("/") or path.startswith(("/", "~")))]
    faults = []
    for path in led_out:
        group = path.split("/")[0]
        known = options(loader, group) if group in groups(loader) else ()
        message = f"'{path}' is a path, not an option; {hint(path.rpartition('/')[2], known)}"
        faults.append(Fault(group, message, unknown=True))
    return faults


def composition_fault(error: Exception, loader: ConfigLoader, overrides: Sequence[str] = ()) -> Fault:
    """Why Hydra could not compose, in one line with the file."""
    if isinstance(error, RecursionError):
        cycle = " and ".join(_cycle(yaml_files(loader)))
        return Fault("", "the defaults of these files lead in a circle; remove one entry", cycle, unknown=True)
    wrong = re.match(r"Could not override '(hydra\.[^']+)'", str(error))
    if wrong is not None:
        kept = [text for text in overrides if not text.lstrip("+").startswith(f"{wrong[1]}=")]
        parent, _, key = wrong[1].rpartition(".")
        node = OmegaConf.select(loader.load_configuration(CONFIG_NAME, kept, run_mode=RunMode.MULTIRUN), parent)
        names = [str(name) for name in node if name != "_target_"] if isinstance(node, DictConfig) else []
        return Fault(wrong[1], f"unknown key; {hint(key, names, f'{parent}.')}", SOURCE, unknown=True)
    if isinstance(error, MarkedYAMLError) and error.problem_mark is not None:
        mark = error.problem_mark
        place = f"{format_path(Path(mark.name))}, line {mark.line + 1}, column {mark.column + 1}"
        return Fault("", f"not valid YAML: {error.problem}", place, unknown=True)
    parent = re.match(r"In '([^']+)'", str(error))
    if isinstance(error, MissingConfigException) and error.missing_cfg_file and parent:
        return _no_option(error.missing_cfg_file, parent[1], loader)
    if isinstance(error, UnicodeDecodeError):
        files = [format_path(file) for file in yaml_files(loader) if error.object in file.read_bytes()]
        return Fault("", "not text in UTF-8; save it in that encoding", " or ".join(files), unknown=True)
    known = isinstance(error, HydraException | OmegaConfBaseException)
    prefix = "" if known else f"Hydra could not compose this ({type(error).__name__}): "
    return Fault("", prefix + first_line(error), file_name(loader, parent[1]) if parent else "", unknown=True)


def _cycle(files: Collection[Path]) -> list[str]:
    """The files whose defaults lists lead back to themselves."""
    named = {file: [other for other in files if _names(file, other)] for file in files}
    reached = {file: set(others) for file, others in named.items()}
    for _ in files:
        reached = {file: others.union(*(reached[other] for other in others)) for file, others in reached.items()}
    return [format_path(file) for file in files if file in reached[file]]


def _names(file: Path, other: Path) -> bool:
    """Whether the defaults list of one file names another."""
    content = _read(file, file.stat().st_mtime_ns)
    listed = content.get("defaults") if isinstance(content, dict) else None
    for entry in listed if isinstance(listed, list) else ():
        if isinstance(entry, str) and other == file.with_name(f"{entry}.yaml"):
            return True
        pairs = entry.items() if isinstance(entry, dict) else ()
        groups = ((str(key).split()[-1].split("@")[0].lstrip("/"), name) for key, name in pairs)
        if any(str(other.with_suffix("")).endswith(f"/{group}/{name}") for group, name in groups):
            return True
    return False


def first_line(error: BaseException) -> str:
    """The error in one line, without Hydra's advice to force the key in."""
    cause = error.__cause__
    text = f"{error}\n{cause or ''}".replace("override ++", "override ")
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    noise = ("To append", "full_key", "object_type", "reference_type", "See http", "Set the environment")
    kept = [line.rstrip(".") for line in lines if not line.startswith(noise)]
    return "; ".join(dict.fromkeys(kept[:3])) or type(error).__name__
