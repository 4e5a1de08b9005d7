"""Lookup of environments: Gymnasium's by id or class, the nearest names, and the packages that provide them."""

import difflib
import inspect
import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from importlib import import_module
from types import ModuleType
from typing import Any, NamedTuple

import gymnasium as gym
from gymnasium.envs.registration import EnvSpec

from qframe.envs.checks import raised
from qframe.formatting import install_command


class _Package(NamedTuple):
    prefix: str  # of its ids
    module: str  # whose import registers them
    package: str
    extra: str


_PACKAGES = (
    _Package("MinAtar/", "minatar.gym", "minatar", "minatar"),
    _Package("MiniGrid-", "minigrid", "minigrid", "minigrid"),
    _Package("BabyAI-", "minigrid", "minigrid", "minigrid"),
    _Package("ALE/", "ale_py", "ale-py", "atari"),
)
_EXTRAS = {"box2d": "box2d", "Box2D": "box2d", "swig": "box2d", "pygame": "box2d"}


def split_id(id: str) -> tuple[str | None, str]:
    """The module named in an id, and the id or class in that module.

    >>> split_id("CartPole-v1"), split_id("mylab:Odd-v0"), split_id("mylab.envs.Odd")
    ((None, 'CartPole-v1'), ('mylab', 'Odd-v0'), ('mylab.envs', 'Odd'))
    """
    module, colon, name = id.partition(":")
    if colon:
        return module, name
    path, dot, last = id.rpartition(".")
    is_dotted = bool(dot) and all(part.isidentifier() for part in id.split(".")) and id not in gym.registry
    return (path, last) if is_dotted else (None, id)


def find(id: str) -> EnvSpec:
    """The spec that Gymnasium makes the environment from.

    Raises:
        ValueError: an unknown environment, a module that cannot be imported, or a missing extra.
    """
    module_name, name = split_id(id)
    module = None if module_name is None else _imported(module_name, id)
    _register_family(name)
    written = getattr(module, name, None)
    if _is_env(written, module_name):
        return EnvSpec(id=name, entry_point=written)
    try:
        return gym.spec(name)
    except gym.error.Error as unknown:
        if written is not None:
            package = str(module_name).partition(".")[0]
            message = f"{id!r} is not a subclass of gymnasium.Env defined in {package}, but {written!r}"
            raise ValueError(message) from unknown
        ours = [key for key, value in vars(module).items() if _is_env(value, module_name)] if module else []
        near = nearest(name, [*gym.registry, *ours]) or f": {next(iter(str(unknown).splitlines()))}"
        raise ValueError(f"no environment is registered as {id!r}{near}") from unknown


def made(
    id: str, spec: EnvSpec, kwargs: Mapping[str, Any], *, max_episode_steps: int | None = None
) -> gym.Env[Any, Any]:
    """Make an environment.

    Args:
        id: its name in messages.
        spec: the result of ``find``.
        kwargs: arguments of its constructor, even those named like arguments of ``gymnasium.make``.
        max_episode_steps: steps after which episodes are truncated; None keeps the registered limit.

    Raises:
        ValueError: a package is missing, or the constructor refuses the arguments.
    """
    try:
        given = replace(spec, kwargs={**spec.kwargs, **kwargs})
        return gym.make(given, max_episode_steps=max_episode_steps, disable_env_checker=True)
    except gym.error.DependencyNotInstalled as absent:
        raise ValueError(_missing_extra(id, absent)) from absent
    except ModuleNotFoundError as absent:
        message = f"environment {id} needs the package {absent.name}, which is not installed"
        raise ValueError(f"{message}; pip install {absent.name}") from absent
    except (Exception, SystemExit) as refused:
        is_again = isinstance(refused, TypeError) and "was raised from the environment creator" in str(refused)
        cause = (refused.__context__ if is_again else None) or refused  # Gymnasium's message names no line
        given_kwargs = f" with kwargs {dict(kwargs)}" if kwargs else ""
        remedy = "; to limit episodes, set env.max_episode_steps" if "max_episode_steps" in kwargs else ""
        raise ValueError(f"making {id}{given_kwargs} failed: {raised(cause)}{remedy}") from refused


def _register_family(name: str) -> None:
    """Import the package that registers ids like this one."""
    for family in _PACKAGES:
        if name.startswith(family.prefix) and not any(id.startswith(family.prefix) for id in gym.registry):
            try:
                module = import_module(family.module)
            except Exception as error:
                if _is_absent(family.module, error):
                    raise ValueError(missing(family.package, f"environment {name}", family.extra)) from error
                raise ValueError(f"importing {family.module!r} for {name!r} failed: {raised(error)}") from error
            getattr(module, "register_envs", lambda: None)()


def _imported(module: str, id: str) -> ModuleType:
    try:
        return import_module(module)
    except (Exception, SystemExit) as error:
        if _is_absent(module, error):
            remedy = "install it, or add its folder to PYTHONPATH"
            raise ValueError(f"no module {module!r} found for {id!r}; {remedy}") from error
        if isinstance(error, ModuleNotFoundError):
            message = f"importing {module!r} for {id!r} needs the package {error.name!r}, which is not installed"
            raise ValueError(message) from error
        raise ValueError(f"importing {module!r} for {id!r} failed: {raised(error)}") from error


def _is_absent(module: str, error: BaseException) -> bool:
    """Whether an import failed because the module, or its package, does not exist."""
    name = error.name if isinstance(error, ModuleNotFoundError) else None
    return name is not None and f"{module}.".startswith(f"{name}.")


def _is_env(value: Any, module: str | None) -> bool:
    """Whether a value is an environment class that the module's own package defines."""
    if module is None or not (inspect.isclass(value) and issubclass(value, gym.Env)):
        return False
    return value.__module__.partition(".")[0] == module.partition(".")[0]


def _missing_extra(id: str, absent: Exception) -> str:
    extra = next((extra for word, extra in _EXTRAS.items() if word in str(absent)), None)
    remedy = install_command(extra) if extra else str(absent)
    return f"environment {id} needs packages that are not installed; {remedy}"


def nearest(name: str, names: Iterable[str], *, listed: bool = False) -> str:
    """The end of a message about an unknown name: the nearest names or, with ``listed``, all names if none is near.

    >>> nearest("breakou", ["breakout", "freeway"])
    '; the nearest is breakout'
    """
    known = sorted(names)
    plain = {re.sub(r"[^a-z0-9]", "", other.lower()): other for other in reversed(known)}
    near = difflib.get_close_matches(re.sub(r"[^a-z0-9]", "", name.lower()), plain, n=3, cutoff=0.6)
    if near:
        return f"; the nearest {'is' if len(near) == 1 else 'are'} {', '.join(plain[other] for other in near)}"
    return f" ({', '.join(known)})" if listed else ""


def snake_case(name: str) -> str:
    """The name of a game as emulators spell it.

    >>> snake_case("SpaceInvaders"), snake_case("Space Invaders"), snake_case("space-invaders")
    ('space_invaders', 'space_invaders', 'space_invaders')
    """
    return re.sub(r"[ _-]+|(?<=[a-z])(?=[A-Z])", "_", name.strip()).lower()


def missing(package: str, feature: str, extra: str) -> str:
    """The message about a package that is not installed, with the extra that installs it.

    >>> missing("minatar", "MinAtar games", "minatar").partition(";")[0]
    'the package minatar, needed for MinAtar games, is not installed'
    """
    return f"the package {package}, needed for {feature}, is not installed; {install_command(extra)}"
