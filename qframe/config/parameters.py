"""The parameters of a class or function by name, with the annotation of each."""

import inspect
import types
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Annotated, Any, NewType, TypeVar, Union, get_args, get_origin, get_type_hints

EMPTY = inspect.Parameter.empty
BY_POSITION: dict[str, tuple[str, ...]] = {
    "action_space": ("space",), "trunk": ("observation_shape",), "network": ("trunk", "make_head"),
    "memory": ("num_features", "num_actions"), "head": ("features", "num_actions"), "loss": ("value_network",),
    "target": ("loss",),
    "exploration": ("action_space",), "optimizer": ("parameters",), "evaluation": ("envs", "action_space"),
    "collector": ("envs", "network"),
}  # fmt: skip
"""The first arguments of a group's class, which qframe gives it by position, whatever their names."""
NAMED = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


@dataclass(frozen=True)
class Parameters:
    """The named parameters of a constructor or function.

    Args:
        annotation: the type of each, by name; ``Any`` where there is none.
        required: the names without a default.
        positional: the names of those that can be given by position, in order.
        is_open: any further name is accepted (``**kwargs``).
    """

    annotation: dict[str, Any]
    required: frozenset[str]
    positional: tuple[str, ...]
    is_open: bool


@cache
def parameters(target: Callable[..., Any]) -> Parameters:
    """The parameters of ``target``; a class that passes ``**kwargs`` on also has those of its base classes.

    >>> parameters(lambda size, *, bias=True: ...).required
    frozenset({'size'})
    """
    annotation: dict[str, Any] = {}
    own: tuple[frozenset[str], tuple[str, ...]] | None = None
    is_open = False
    for function in _constructors(target):
        found, needed, positional, is_open = _read(function, skip_first=inspect.isclass(target))
        annotation = found | annotation
        own = own or (needed, positional)  # the class may supply what its base needs
        if not is_open:
            break
    return Parameters(annotation, *(own or (frozenset(), ())), is_open)


def alternatives(annotation: Any) -> list[Any]:
    """The members of a union, without ``Annotated`` and ``NewType`` around them; a plain type is its only member.

    >>> alternatives(Annotated[int | None, "frames"])
    [<class 'int'>, <class 'NoneType'>]
    """
    annotation = bare(annotation)
    if get_origin(annotation) in (Union, types.UnionType):
        return [member for option in get_args(annotation) for member in alternatives(option)]
    return [annotation]


def bare(annotation: Any) -> Any:
    """The annotation without ``Annotated`` and ``NewType``; ``Any`` for one that says nothing about a value."""
    while True:
        if get_origin(annotation) is Annotated:
            annotation = get_args(annotation)[0]
        elif isinstance(annotation, NewType):
            annotation = annotation.__supertype__
        elif annotation in (EMPTY, object) or isinstance(annotation, TypeVar | str):
            return Any
        else:
            return annotation


def takes_callable(annotation: Any) -> bool:
    """Whether the annotation names a function type."""
    return annotation is Callable or get_origin(annotation) is Callable


def takes_class(annotation: Any) -> bool:
    """Whether the annotation names a class itself, as ``type[nn.Module]``."""
    return annotation is type or get_origin(annotation) is type


def _constructors(target: Callable[..., Any]) -> list[Callable[..., Any]]:
    if not inspect.isclass(target):
        return [target]
    own = [base.__dict__["__init__"] for base in target.__mro__ if base is not object and "__init__" in base.__dict__]
    return own or ([target.__new__] if target.__new__ is not object.__new__ else [_no_arguments])


def _no_arguments(self: object) -> None:
    """The constructor of a class that has none of its own."""


def _read(
    function: Callable[..., Any], *, skip_first: bool
) -> tuple[dict[str, Any], frozenset[str], tuple[str, ...], bool]:
    try:
        listed = list(inspect.signature(function).parameters.values())[int(skip_first) :]
    except ValueError:  # written in C, without a signature
        return {}, frozenset(), (), True
    try:
        hints = get_type_hints(function, include_extras=True)
    except (NameError, TypeError, AttributeError):
        hints = {}
    named = [p for p in listed if p.kind in NAMED]
    needed = frozenset(p.name for p in named if p.default is EMPTY)
    is_open = any(p.kind is inspect.Parameter.VAR_KEYWORD for p in listed)
    positional = tuple(p.name for p in named if p.kind is not inspect.Parameter.KEYWORD_ONLY)
    return {p.name: hints.get(p.name, Any) for p in named}, needed, positional, is_open
