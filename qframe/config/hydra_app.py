"""The one place that starts Hydra: on qframe's own ``conf/``, joined by a user's folder."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hydra import version
from hydra._internal.hydra import Hydra
from hydra._internal.utils import create_config_search_path
from hydra.core.config_loader import ConfigLoader
from hydra.core.config_search_path import SearchPathQuery
from hydra.core.global_hydra import GlobalHydra
from hydra.core.object_type import ObjectType

import qframe
from qframe.errors import ConfigError, Fault

CONFIG_NAME = "train"


def conf_dir() -> Path:
    """The folder of qframe's YAML: the checkout's ``conf/`` when there is one, else the copy inside the package."""
    package = Path(qframe.__file__).resolve().parent
    checkout = package.parent / "conf"
    is_checkout = (checkout / f"{CONFIG_NAME}.yaml").is_file() and (package.parent / "pyproject.toml").is_file()
    return checkout if is_checkout else package / "conf"


@contextmanager
def hydra_app(config_dir: str | Path | None = None) -> Iterator[Hydra]:
    """Hydra on qframe's ``conf/`` and, after it, the user's own folder.

    Whatever Hydra application the process already runs is set aside and given back.

    Args:
        config_dir: a folder with groups of its own, as ``network/my_net.yaml``; None for none.

    Raises:
        ConfigError: the folder is not there, or one of its files has the name of one of qframe's.
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


def groups(loader: ConfigLoader, parent: str = "") -> tuple[str, ...]:
    """All groups, nested ones as ``network/trunk``; Hydra's own left out."""
    found = [f"{parent}/{name}" if parent else name for name in _entries(loader, parent, ObjectType.GROUP)]
    found = [group for group in found if group != "hydra"]
    return tuple(name for group in found for name in (group, *groups(loader, group)))


def options(loader: ConfigLoader, group: str) -> list[str]:
    """The options of a group, sorted."""
    return _entries(loader, group, ObjectType.CONFIG)


def _entries(loader: ConfigLoader, group: str, kind: ObjectType) -> list[str]:
    # The loader's own get_group_options copies everything it holds at each question, a hundredth of a second.
    sources = [source for source in loader.get_sources() if source.is_group(group)]
    return sorted({name for source in sources for name in source.list(group, results_filter=kind)})


def config_file(loader: ConfigLoader, config_path: str) -> Path | None:
    """The YAML file of ``group/option``, or None when it is in no folder."""
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


def short(path: Path) -> str:
    """The path as a reader at the prompt would write it."""
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)


def _check_own_folder(own: Path) -> None:
    if not own.is_dir():
        raise ConfigError([Fault("--config-dir", f"expected a folder of YAML files, got '{own}'")])
    names = sorted(path.relative_to(own) for path in own.rglob("*.yaml"))
    twins = [name for name in names if (conf_dir() / name).is_file()]
    different = [name for name in twins if (conf_dir() / name).read_bytes() != (own / name).read_bytes()]
    message = "qframe has an option of this name, which would win; rename the file"
    if different:
        raise ConfigError([Fault("--config-dir", message, source=short(own / name)) for name in different])
