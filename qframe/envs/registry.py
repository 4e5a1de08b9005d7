"""Gymnasium environments by their id or class: found where their package registers them, and made."""

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
    """The module that an id names, and the id or class in it.

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
    """What Gymnasium makes the environment by.

    Raises:
        ValueError: there is none, its module cannot be imported, or an extra is missing.
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
            what = f"a subclass of gymnasium.Env written in {str(module_name).partition('.')[0]}"
            raise ValueError(f"expected {id!r} to be {what}, got {written!r}") from unknown
        ours = [key for key, value in vars(module).items() if _is_env(value, module_name)] if module else []
        near = nearest(name, [*gym.registry, *ours]) or f": {next(iter(str(unknown).splitlines()))}"
        raise ValueError(f"expected the id of a registered environment, got {id!r}{near}") from unknown


def made(
    id: str, spec: EnvSpec, kwargs: Mapping[str, Any], *, max_episode_steps: int | None = None
) -> gym.Env[Any, Any]:
    """The environment.

    Args:
        id: as it was asked for.
        spec: what it is made by.
        kwargs: all are its constructor's, also those that ``gymnasium.make`` would take for its own.
        max_episode_steps: truncates its episodes; None keeps the registered limit.

    Raises:
        ValueError: a package is missing, or its constructor refuses the arguments.
    """
    try:
        given = replace(spec, kwargs={**spec.kwargs, **kwargs})
        return gym.make(given, max_episode_steps=max_episode_steps, disable_env_checker=True)
    except gym.error.DependencyNotInstalled as absent:
        raise ValueError(_missing_extra(id, absent)) from absent
    except ModuleNotFoundError as absent:
        what = f"expected the packages of environment {id}, of which {absent.name} is not installed"
        raise ValueError(f"{what}; pip install {absent.name}") from absent
    except (Exception, SystemExit) as refused:
        is_again = isinstance(refused, TypeError) and "was raised from the environment creator" in str(refused)
        cause = (refused.__context__ if is_again else None) or refused  # Gymnasium's own words name no place
        expected = f"expected kwargs that {id} takes, got {dict(kwargs)}:" if kwargs else f"expected to make {id}, got"
        remedy = "; an episode's limit is env.max_episode_steps" if "max_episode_steps" in kwargs else ""
        raise ValueError(f"{expected} {raised(cause)}{remedy}") from refused


def _register_family(name: str) -> None:
    """Import the package that registers ids of this kind."""
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
            remedy = "is it installed, and is its folder the current one or on PYTHONPATH?"
            raise ValueError(f"expected a module {module!r} for {id!r}, found none; {remedy}") from error
        if isinstance(error, ModuleNotFoundError):
            message = f"importing {module!r} for {id!r} needs the package {error.name!r}, which is not installed"
            raise ValueError(message) from error
        raise ValueError(f"importing {module!r} for {id!r} failed: {raised(error)}") from error


def _is_absent(module: str, error: BaseException) -> bool:
    """Whether a module was not imported because it, or the package that it is in, is not there."""
    name = error.name if isinstance(error, ModuleNotFoundError) else None
    return name is not None and f"{module}.".startswith(f"{name}.")


def _is_env(value: Any, module: str | None) -> bool:
    """Whether it is an environment's class of the module's own package."""
    if module is None or not (inspect.isclass(value) and issubclass(value, gym.Env)):
        return False
    return value.__module__.partition(".")[0] == module.partition(".")[0]


def _missing_extra(id: str, absent: Exception) -> str:
    extra = next((extra for word, extra in _EXTRAS.items() if word in str(absent)), None)
    remedy = f'pip install "qframe[{extra}]"' if extra else str(absent)
    return f"expected the packages of environment {id}, which are not installed; {remedy}"


def nearest(name: str, names: Iterable[str], *, listed: bool = False) -> str:
    """The names most like ``name``, as the end of a message; all of them where none is and they are to be listed.

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
    """A game's name as emulators write it.

    >>> snake_case("SpaceInvaders"), snake_case("Space Invaders"), snake_case("space-invaders")
    ('space_invaders', 'space_invaders', 'space_invaders')
    """
    return re.sub(r"[ _-]+|(?<=[a-z])(?=[A-Z])", "_", name.strip()).lower()


def missing(package: str, what: str, extra: str) -> str:
    """What to install for something that is not there.

    >>> missing("minatar", "MinAtar games", "minatar")
    'expected the package minatar for MinAtar games, which is not installed; pip install "qframe[minatar]"'
    """
    return f'expected the package {package} for {what}, which is not installed; pip install "qframe[{extra}]"'
