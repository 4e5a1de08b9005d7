"""Lookup of environments: Gymnasium's by id or class, the nearest names, and the packages that provide them."""

import ast
import inspect
import re
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from pkgutil import iter_modules
from types import ModuleType
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np
from gymnasium.envs.registration import EnvSpec, load_env_creator

from qframe.envs.checks import display_remedy, raised
from qframe.envs.old_gym import old_ids, old_spec
from qframe.errors import nearest
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
_DISTRIBUTIONS = {
    "Box2D": "box2d", "PIL": "pillow", "chess": "python-chess", "cv2": "opencv-python", "skimage": "scikit-image",
    "sklearn": "scikit-learn", "yaml": "pyyaml",
}  # fmt: skip
"""The distributions of modules that have another name."""
_NOT_ONE = "; write a gymnasium.Env around it in which one agent acts, and name that as env.id=mylab.Class"
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


def find(id: str, register: str | None = None) -> EnvSpec:
    """The spec that Gymnasium makes the environment from.

    Args:
        id: of the environment.
        register: a function that is called first, ``module.function``, and registers ids.

    Raises:
        ValueError: an unknown environment, a module that cannot be imported, or a missing extra.
    """
    module_name, name = split_id(id)
    before = {*gym.registry, *old_ids()}
    module = None if module_name is None else _imported(module_name, id)
    _register_family(name)
    if register is not None:
        _call(register, id)
    written = getattr(module, name, None)
    if _is_env(written, module_name):
        return EnvSpec(id=name, entry_point=written)
    try:
        return gym.spec(name)
    except gym.error.Error as unknown:
        if (old := old_spec(name, written)) is not None:
            return old
        if written is not None:
            package = str(module_name).partition(".")[0]
            message = f"{id!r} is neither a subclass of gymnasium.Env nor a function, defined in {package}: {written!r}"
            raise ValueError(message + _NOT_ONE * inspect.isclass(written)) from unknown
        classes = inspect.getmembers(module, inspect.isclass)
        ours = [key for key, value in classes if _is_env(value, module_name)]
        raise ValueError(
            _unknown(id, name, module_name, [*sorted({*gym.registry, *old_ids()} - before), *ours])
        ) from unknown


def _unknown(id: str, name: str, module: str | None, ours: Sequence[str]) -> str:
    """The message about an unknown id, with the ids and classes that its module has."""
    near = nearest(name, gym.registry if module is None else ours)
    hint = f"; nearest is '{near}'" if near else ""
    if module is None and (package := _namespace(name)) is not None:
        hint += f"; if the package {package} registers it: env.id={package}:{name} --trust {package}"
    elif module is None:
        hint += "; an environment of another package is env.id=package:Id-v0 --trust package"
    elif ours:
        hint += f"; {module} has {', '.join(ours[:8])}{', …' if len(ours) > 8 else ''}"
    else:
        hint += f"; importing {module} registers none: name a function that does as env.register={module}.function"
        path = getattr(sys.modules.get(module), "__path__", ())
        if inner := [f"{module}.{one.name}" for one in iter_modules(path) if not one.name.startswith("_")]:
            likely = next((one for one in inner if re.search("env|gym", one.rpartition(".")[2])), inner[0])
            hint += f", or a module that does as env.id={likely}:{name}; there are {', '.join(inner)}"
    return f"no environment is registered as {id!r}{hint}"


def _namespace(name: str) -> str | None:
    """The installed package that the namespace of an id names, as in ``package/Id-v0``; it is not imported."""
    space, slash, _ = name.partition("/")
    package = space.replace("-", "_")
    return package if slash and package.isidentifier() and find_spec(package) is not None else None


def _call(register: str, id: str) -> None:
    """Call a function that registers environments."""
    path, _, name = register.rpartition(".")
    function = getattr(_imported(path, id), name, None) if path else None
    if not callable(function):
        raise ValueError(f"env.register must name a function as package.function, but there is no {register!r}")
    try:
        function()
    except (Exception, SystemExit) as error:
        raise ValueError(f"env.register={register} failed: {raised(error)}") from error


def as_parameters(entry_point: Any, kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments from a config as an environment's constructor takes them.

    Text that is a Python tuple, such as ``"(84, 84)"``, becomes one, at any depth; a list becomes a tuple or an array
    where the parameter's annotation says so.

    >>> as_parameters(None, {"config": {"shape": "(84, 84)"}, "name": "(x"})
    {'config': {'shape': (84, 84)}, 'name': '(x'}
    """
    hints: dict[str, str] = {}
    with suppress(Exception):  # a constructor that cannot be inspected, or an entry point that is not yet imported
        target = load_env_creator(entry_point) if isinstance(entry_point, str) else entry_point
        hints = {name: str(parameter.annotation) for name, parameter in inspect.signature(target).parameters.items()}
    return {key: _as_parameter(value, hints.get(key, "")) for key, value in kwargs.items()}


def _as_parameter(value: Any, hint: str = "") -> Any:
    if isinstance(value, Mapping):
        return {key: _as_parameter(item) for key, item in value.items()}
    if isinstance(value, list):
        items = [_as_parameter(item) for item in value]
        if "ndarray" in hint or "NDArray" in hint:
            return np.array(items)
        return tuple(items) if "tuple" in hint.lower() and "list" not in hint.lower() else items
    if isinstance(value, str) and value.startswith("(") and value.endswith(")"):
        with suppress(ValueError, SyntaxError):
            written = ast.literal_eval(value)
            return written if isinstance(written, tuple) else value
    return value


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
        creator = load_env_creator(spec.entry_point) if isinstance(spec.entry_point, str) else spec.entry_point
        if getattr(creator, "metadata", {}) is None:  # Gymnasium refuses a class without metadata, unless it is hidden
            given = replace(given, entry_point=partial(creator))  # pyright: ignore
        env = gym.make(given, max_episode_steps=max_episode_steps, disable_env_checker=True)
        if env.unwrapped.metadata is None:
            env.unwrapped.metadata = {}
        return env
    except gym.error.DependencyNotInstalled as absent:
        raise ValueError(_missing_extra(id, absent)) from absent
    except ModuleNotFoundError as absent:
        raise ValueError(f"environment {id} needs {_absent(absent.name)}") from absent
    except (Exception, SystemExit) as refused:
        is_again = isinstance(refused, TypeError) and "was raised from the environment creator" in str(refused)
        cause = (refused.__context__ if is_again else None) or refused  # Gymnasium's message names no line
        given_kwargs = f" with kwargs {dict(kwargs)}" if kwargs else ""
        remedy = "; to limit episodes, set env.max_episode_steps" if "max_episode_steps" in kwargs else ""
        if not remedy and isinstance(cause, TypeError) and "argument" in str(cause):
            remedy = _parameters(spec.entry_point)
        elif isinstance(cause, TypeError) and "must inherit from the gymnasium.Env" in str(cause):
            message = f"{id} makes something else than a gymnasium.Env, as environments of several agents do"
            raise ValueError(f"{message}{_NOT_ONE}") from refused
        remedy = remedy or display_remedy(cause)
        raise ValueError(f"making {id}{given_kwargs} failed: {raised(cause)}{remedy}") from refused


def _parameters(entry_point: Any) -> str:
    """The parameters of an environment's constructor, for the end of a message."""
    with suppress(Exception):  # it cannot be inspected
        target = load_env_creator(entry_point) if isinstance(entry_point, str) else entry_point
        names = [str(parameter).partition(":")[0] for parameter in inspect.signature(target).parameters.values()]
        return f"; env.kwargs may hold {', '.join(names) or 'nothing'}"
    return ""


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
            raise ValueError(f"importing {module!r} for {id!r} needs {_absent(error.name)}") from error
        raise ValueError(f"importing {module!r} for {id!r} failed: {raised(error)}{display_remedy(error)}") from error


def _absent(module: str | None) -> str:
    """The end of a message about a module that is missing, with the command that installs it."""
    name = str(module).partition(".")[0]
    kind = ", Gymnasium's predecessor, whose interface is converted" if name == "gym" else ""
    return f"the package {name!r}{kind}, which is not installed; pip install {_DISTRIBUTIONS.get(name, name)}"


def _is_absent(module: str, error: BaseException) -> bool:
    """Whether an import failed because the module, or its package, does not exist."""
    name = error.name if isinstance(error, ModuleNotFoundError) else None
    return name is not None and f"{module}.".startswith(f"{name}.")


def _is_env(value: Any, module: str | None) -> bool:
    """Whether a value is an environment class, or a function, that the module's own package defines."""
    if module is None or not ((inspect.isclass(value) and issubclass(value, gym.Env)) or inspect.isfunction(value)):
        return False
    return value.__module__.partition(".")[0] == module.partition(".")[0]


def _missing_extra(id: str, absent: Exception) -> str:
    extra = next((extra for word, extra in _EXTRAS.items() if word in str(absent)), None)
    remedy = install_command(extra) if extra else str(absent)
    return f"environment {id} needs packages that are not installed; {remedy}"


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
