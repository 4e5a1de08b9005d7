"""Builds the object that a ``_target_`` names, and decides which names a config may use.

A config is data. A name is imported only when it lies under an allowed package, and must resolve to a
class or function that was itself written there: ``qframe.actions.specs.torch`` leads out of the package and is refused.
"""

import importlib
import importlib.util
import inspect
import pkgutil
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any, get_args, get_origin

from omegaconf import DictConfig, OmegaConf

from qframe.config.parameters import BY_POSITION, alternatives, parameters, takes_callable, takes_class
from qframe.errors import ConfigError, Fault, UserError, hint, nearest

PARTS = "qframe"
BORDER = tuple(f"qframe.{package}" for package in ("cli", "config", "errors", "machine", "runs", "sweeps"))
"""No config may name these."""
ONLY_CLASSES = tuple(
    f"qframe.{package}" for package in ("checkpoints", "compiled", "envs", "export", "loggers", "optimizer", "training")
)
"""Of these a config may name only classes: their functions write files, or import the module that an id names."""
WRITES_FILES = ("RecordVideo",)  # wrappers; a config may come from somebody else
TORCH = ("torch.nn", "torch.optim")  # may be imported
WRAPPERS = ("gymnasium.wrappers", "minigrid.wrappers")  # of environments
TOO_LARGE = re.compile("allocate memory|calculation overflowed|dimension exceeded")  # torch's and NumPy's words
TORCH_CLASSES = ("torch.nn.modules", "torch.optim")  # where the class that is found must have been written

_trusted: list[str] = []


def trust(*prefixes: str) -> None:
    """Let ``_target_`` name anything under these dotted prefixes, for the rest of this process.

    Raises:
        UserError: a prefix is not a dotted name.
    """
    for prefix in prefixes:
        if not all(part.isidentifier() for part in prefix.split(".")):
            raise UserError(f"--trust: expected a dotted package name such as mylab.heads, got '{prefix}'")
        if prefix not in _trusted:
            _trusted.append(prefix)


def trusted() -> tuple[str, ...]:
    """The prefixes trusted so far."""
    return tuple(_trusted)


def refused_import(env_id: Any) -> str | None:
    """Why Gymnasium may not import the module that an id names as ``module:Name-v0``; None if it may.

    >>> refused_import("CartPole-v1"), refused_import("os.path:CartPole-v1")
    (None, "the id 'os.path:CartPole-v1' imports a module that is not trusted; add --trust os.path")
    """
    from qframe.envs.registry import split_id  # not at the top: importing Gymnasium would slow `qframe list` down

    module, _ = split_id(str(env_id))
    if module is None or any(_under(module, prefix) for prefix in ("qframe.envs", *_trusted)):
        return None
    return f"the id '{env_id}' imports a module that is not trusted; add --trust {module}"


def resolve(target: str, where: str = "") -> Callable[..., Any]:
    """The class or function that ``target`` names.

    Args:
        target: a module and a class or function in it, as ``qframe.networks.MLP``, or a classmethod of such a class; a
            wrapper of Gymnasium by its name alone.
        where: the place in the config, for the message.

    Raises:
        ConfigError: the name is not allowed or does not exist.

    >>> resolve("torch.nn.Tanh")
    <class 'torch.nn.modules.activation.Tanh'>
    """
    import gymnasium.wrappers

    if target in gymnasium.wrappers.__all__:
        target = f"{WRAPPERS[0]}.{target}"
    path, _, name = target.rpartition(".")
    if not path or not all(part.isidentifier() for part in target.split(".")):
        raise _fault(where, f"expected a dotted name such as qframe.networks.MLP, got '{target}'{_meant(target)}")
    if not _may_import(target) or name.startswith("_"):
        raise _refusal(where, target)
    holder = _holder(path, where, target)
    try:
        found = getattr(holder, name, None)
    except Exception as error:  # Gymnasium imports some of its wrappers on access
        if isinstance(error, ModuleNotFoundError) and error.name:
            package = error.name.partition(".")[0]
            raise _fault(where, f"'{target}' needs the package {package}; pip install {package}") from error
        raise _fault(where, f"importing '{target}' failed: {type(error).__name__}: {error}") from error
    if found is None:
        written = [key for key in dir(holder) if not key.startswith("_") and _is_allowed(getattr(holder, key, None))]
        raise _fault(where, f"'{path}' has no '{name}'; {hint(name, written, f'{path}.')}")
    if not _is_allowed(found) or (inspect.isclass(holder) and not inspect.ismethod(found)):
        raise _refusal(where, target)
    return found


def _meant(name: str) -> str:
    """A remedy for a name without its module: the class of torch or the wrapper of Gymnasium that it may mean."""
    import gymnasium.wrappers

    for module in map(importlib.import_module, TORCH):
        for written, found in vars(module).items():
            if written.lower() == name.lower() and _is_allowed(found):
                return f"; write {module.__name__}.{written}"
    near = nearest(name, gymnasium.wrappers.__all__)
    return f"; the nearest wrapper of Gymnasium is {near}" if near else ""


def instantiate(node: Mapping[str, Any] | DictConfig, /, *args: Any, where: str = "", **runtime: Any) -> Any:
    """Build the object that ``node`` describes; nested nodes are built first.

    Args:
        node: a mapping with ``_target_``; the other keys are constructor arguments.
        *args: run-time values passed by position.
        where: the node's place in the config, for messages.
        **runtime: run-time values. Each is given only to a constructor that has a parameter of that name, so a new
            part takes what it needs and never sees the rest.

    Raises:
        ConfigError: a name is refused, or a constructor refused its arguments (ValueError, TypeError).

    >>> instantiate({"_target_": "torch.nn.Linear", "out_features": 2}, in_features=3, num_actions=2)
    Linear(in_features=3, out_features=2, bias=True)
    """
    plain = OmegaConf.to_container(node, resolve=True) if isinstance(node, DictConfig) else node
    assert isinstance(plain, Mapping)
    target, given = _described(plain, where)
    known = parameters(target)
    wanted = {key: value for key, value in runtime.items() if key in known.annotation or known.is_open}
    given |= wanted
    _check_call(target, args, given, where)
    with _refusals(target, where):
        return target(*args, **given)


def _described(node: Mapping[str, Any], where: str) -> tuple[Callable[..., Any], dict[str, Any]]:
    target = resolve(node["_target_"], _join(where, "_target_"))
    for key in ("id", "register") if _under(target.__module__ or "", "qframe.envs") else ():
        if node.get(key) is not None and (foreign := refused_import(node[key])) is not None:
            raise _fault(_join(where, key), foreign)
    annotation = parameters(target).annotation
    arguments = {key: value for key, value in node.items() if key != "_target_"}
    given = {key: _value(value, annotation.get(key, Any), _join(where, key)) for key, value in arguments.items()}
    return target, given


def _value(value: Any, annotation: Any, where: str) -> Any:
    """A config value as the parameter takes it: a built node, a class, a tuple, or the value itself."""
    options = alternatives(annotation)
    if isinstance(value, Mapping) and "_target_" in value:
        target, given = _described(value, where)
        if any(map(takes_callable, options)) and _waits(target, given):
            return partial(target, **given)
        with _refusals(target, where):
            return target(**given)
    if isinstance(value, Mapping):
        return {key: _value(item, Any, _join(where, key)) for key, item in value.items()}
    if isinstance(value, list | tuple):
        element = next((get_args(option)[0] for option in options if get_origin(option) and get_args(option)), Any)
        items = [_value(item, element, f"{where}[{index}]") for index, item in enumerate(value)]
        return tuple(items) if any(tuple in (option, get_origin(option)) for option in options) else items
    if isinstance(value, str) and str not in options and any(takes_class(o) or takes_callable(o) for o in options):
        return resolve(value, where)
    return value


def _waits(target: Callable[..., Any], given: Mapping[str, Any]) -> bool:
    """Whether a node is a function still to be called: it is one, or arguments are missing that only the run has."""
    return not inspect.isclass(target) or bool(parameters(target).required - given.keys())


def _check_call(target: Callable[..., Any], args: tuple[Any, ...], given: Mapping[str, Any], where: str) -> None:
    """Check that a class takes the arguments of its group."""
    try:
        inspect.signature(target).bind(*args, **given)
    except TypeError as unlike:
        first = " and ".join(BY_POSITION.get(where, ()))
        remedy = f"; its first arguments must be {first}, with any names" if first else ""
        raise _fault(where, f"{target.__qualname__} cannot be called: {unlike}{remedy}") from unlike
    except ValueError:  # it has no signature to inspect
        pass


@contextmanager
def _refusals(target: Callable[..., Any], where: str) -> Iterator[None]:
    """Turn the errors of a constructor into faults of the config."""
    try:
        yield
    except (ValueError, TypeError, OverflowError, MemoryError, RuntimeError) as error:  # torch's own are RuntimeErrors
        message = next(iter(str(error).splitlines()), type(error).__name__)
        if isinstance(error, TypeError | RuntimeError) and _is_foreign(target):
            message = _failure(target, error, where)
        if isinstance(error, MemoryError) or TOO_LARGE.search(message):
            message = message.rpartition("allocate memory: ")[2]
            message = f"does not fit this machine's memory: {message}; choose smaller sizes"
        raise ConfigError([Fault(where or target.__qualname__, message)]) from error
    except Exception as error:
        if not _is_foreign(target):
            raise
        raise ConfigError([Fault(where, _failure(target, error, where))]) from error


def _is_foreign(target: Callable[..., Any]) -> bool:
    """Whether a class is neither qframe's nor of the libraries below it."""
    return not any(_under(target.__module__ or "", library) for library in (PARTS, "torch", "gymnasium"))


def _failure(target: Callable[..., Any], error: BaseException, where: str) -> str:
    """The message about a class that is not qframe's, and failed when it was built."""
    first = ", ".join((*BY_POSITION.get(where, ()), "…"))
    return f"{target.__qualname__}({first}) failed: {located(error)}"


def located(error: BaseException) -> str:
    """An exception from somebody else's code in one line, with the line that raised it."""
    from qframe.envs.checks import raised  # not at the top: importing Gymnasium would slow `qframe list` down

    return raised(error)


def _may_import(target: str) -> bool:
    if any(_under(target, prefix) for prefix in (*TORCH, *WRAPPERS, *_trusted)):
        return True
    return _under(target, PARTS) and not any(_under(target, prefix) for prefix in BORDER)


def _is_allowed(found: object) -> bool:
    if inspect.isbuiltin(found) and any(_under(found.__module__ or "", prefix) for prefix in _trusted):
        return True
    is_alternative_constructor = inspect.ismethod(found) and inspect.isclass(found.__self__)
    if not (inspect.isclass(found) or inspect.isfunction(found) or is_alternative_constructor):
        return False
    home = found.__module__ or ""
    if getattr(found, "__name__", "") in WRITES_FILES and any(_under(home, prefix) for prefix in WRAPPERS):
        return False
    if inspect.isfunction(found) and any(_under(home, prefix) for prefix in ONLY_CLASSES):
        return False
    if inspect.isclass(found) and any(_under(home, prefix) for prefix in (*TORCH_CLASSES, *WRAPPERS)):
        return True
    ours = _under(home, PARTS) and not any(_under(home, prefix) for prefix in BORDER)
    return ours or any(_under(home, prefix) for prefix in _trusted)


def _holder(path: str, where: str, target: str) -> ModuleType | type:
    """The module at ``path``, or the allowed class when its last name is one."""
    parent, _, name = path.rpartition(".")
    if name[:1].isupper() and parent and importlib.util.find_spec(parent.partition(".")[0]):
        found = getattr(_module(parent, where, target), name, None)
        if inspect.isclass(found) and _is_allowed(found):
            return found
    return _module(path, where, target)


def _module(path: str, where: str, target: str) -> ModuleType:
    try:
        return importlib.import_module(path)
    except ModuleNotFoundError as error:
        if error.name is None or not _under(path, error.name):
            message = f"importing '{path}' needs the package '{error.name}', which is not installed"
            raise _fault(where, message) from error
        parent = error.name.rpartition(".")[0]
        raise _fault(where, f"there is no '{target}'; {_neighbours(parent, target)}") from error
    except Exception as error:
        if _under(path, PARTS):
            raise
        raise _fault(where, f"importing '{path}' failed: {type(error).__name__}: {error}") from error


def _neighbours(parent: str, target: str) -> str:
    """The names in the deepest package of ``target`` that exists."""
    if not parent:
        return "is it installed, and is its folder the current one or on PYTHONPATH?"
    module = importlib.import_module(parent)
    names = {key for key, value in vars(module).items() if _is_allowed(value)}
    names |= {found.name for found in pkgutil.iter_modules(getattr(module, "__path__", []))}
    return hint(target[len(parent) + 1 :], names, f"{parent}.")


def _refusal(where: str, target: str) -> ConfigError:
    allowed = ", ".join((PARTS, *TORCH, *_trusted))
    fault = f"'{target}' is not a class or function written in {allowed}"
    return _fault(where, f"{fault}; trust a package of your own with --trust PREFIX")


def _fault(where: str, message: str) -> ConfigError:
    return ConfigError([Fault(where, message, unknown=True)])


def _under(name: str, prefix: str) -> bool:
    return name == prefix or name.startswith(f"{prefix}.")


def _join(where: str, key: str) -> str:
    return f"{where}.{key}" if where else key


def apply_trust(prefixes: Sequence[str]) -> None:
    """Trust the packages, and find them in the current folder as ``python`` would."""
    trust(*prefixes)
    if prefixes and str(Path.cwd()) not in sys.path:
        sys.path.append(str(Path.cwd()))
