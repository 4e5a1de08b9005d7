"""Checks a config against the constructors that it names: every key, every type, all faults at once."""

import enum
import inspect
import json
import sys
from collections.abc import Collection, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, is_typeddict

from omegaconf import OmegaConf

from qframe.config.hydra_app import conf_dir
from qframe.config.numbers import integer
from qframe.config.parameters import BY_POSITION, alternatives, parameters, takes_callable, takes_class
from qframe.config.schema import AUTO_COLLECTOR, AUTO_NUMBERS, EARLIER, GROUPS, SETTINGS
from qframe.config.targets import refused_import, resolve
from qframe.errors import ConfigError, Fault, hint, nearest

SCALARS: dict[Any, str] = {
    bool: "true or false",
    int: "an integer (e.g. 1000, 1e6, 50k or 1M)",
    float: "a number",
    str: "text",
    Path: "a path",
    type(None): "null",
}


class Checker:
    """Checks values against types and collects the faults.

    Args:
        provided: constructor parameters that the builder gives at run time, by the node's place in the config.
    """

    def __init__(self, provided: Mapping[str, AbstractSet[str]]) -> None:
        self.provided = provided
        self.faults: list[Fault] = []

    def node(self, node: Mapping[str, Any], where: str, *, waits: bool = False) -> dict[str, Any]:
        """The node with its numbers normalised.

        Args:
            node: a mapping with ``_target_``.
            where: its place in the config.
            waits: the node is called later with more arguments, so none counts as missing.
        """
        if not isinstance(node.get("_target_"), str):
            self._fault(f"{where}._target_", "missing: name a class, such as qframe.networks.MLP")
            return dict(node)
        try:
            known = parameters(resolve(node["_target_"], f"{where}._target_"))
        except ConfigError as error:
            self.faults += error.faults
            return dict(node)
        given = set(self.provided.get(where, ()))
        if given.issuperset(first := BY_POSITION.get(where, ())):
            given |= {*known.positional[: len(first)]}
        checked: dict[str, Any] = {"_target_": node["_target_"]}
        for key, value in ((str(key), value) for key, value in node.items() if key != "_target_"):
            place = f"{where}.{key}"
            if key in given and key in known.annotation:
                self._fault(place, "this is filled in by qframe, not by the config; remove it")
            elif key in known.annotation or known.is_open:
                checked[key] = self.value(known.annotation.get(key, Any), value, place)
            else:
                self.faults.append(unknown_key(key, node["_target_"], known.annotation.keys() - given, where))
        missing = known.required - given - {str(key) for key in node}
        for key in () if waits else sorted(missing):
            wanted = described(known.annotation[key])
            self._fault(f"{where}.{key}", f"missing: {node['_target_']} needs {wanted}; set {where}.{key}=…")
        return checked

    def value(self, annotation: Any, value: Any, where: str) -> Any:
        """The value converted to its type: 1M to 1000000 for an integer, 1 to 1.0 for a number."""
        if value == "auto" and where in AUTO_NUMBERS:
            return value
        options = alternatives(annotation)
        attempts = [self._attempt(option, value, where) for option in options]
        fitting = [result for result, faults in attempts if not faults]
        if fitting:
            return next((result for result in fitting if type(result) is type(value)), fitting[0])
        inner = [faults for _, faults in attempts if any(fault.where != where or fault.unknown for fault in faults)]
        if inner:
            self.faults += inner[0]
        else:
            own = [faults for option, (_, faults) in zip(options, attempts, strict=True) if option is not type(None)]
            expected = f"expected {described(annotation)}, got {shown(value)}"
            self.faults += own[0] if len(own) == 1 and len(options) == 1 else [Fault(where, expected)]
        return attempts[0][0] if len(options) == 1 else value

    def _attempt(self, option: Any, value: Any, where: str) -> tuple[Any, list[Fault]]:
        attempt = Checker(self.provided)
        result = attempt._one(option, value, where)
        return result, attempt.faults

    def _one(self, option: Any, value: Any, where: str) -> Any:
        is_node = isinstance(value, Mapping) and "_target_" in value
        if option is Any or option is None:
            return self._anything(value, where)
        if is_node and (takes_callable(option) or _is_object(option)):
            return self._built(option, value, where)
        if isinstance(value, str) and (takes_callable(option) or takes_class(option)):
            return self._named(option, value, where)
        if option in SCALARS and not is_node:
            return self._scalar(option, value, where)
        origin, args = get_origin(option), get_args(option)
        kind: Any = option if origin is None else origin
        if kind is Literal and any(value == choice and type(value) is type(choice) for choice in args):
            return value
        if _is_enum(option) and isinstance(value, str) and value in option.__members__:
            return value
        if _is_mapping(kind) and isinstance(value, Mapping) and not is_node:
            of = args[1] if len(args) == 2 else Any
            return {key: self.value(of, item, f"{where}.{key}") for key, item in value.items()}
        if _is_sequence(kind) and isinstance(value, list | tuple):
            return self._sequence(kind, args, value, where)
        return self._wrong(option, value, where)

    def _anything(self, value: Any, where: str) -> Any:
        if isinstance(value, Mapping):
            if "_target_" in value:
                return self.node(value, where)
            return {key: self._anything(item, f"{where}.{key}") for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [self._anything(item, f"{where}[{index}]") for index, item in enumerate(value)]
        return value

    def _scalar(self, option: Any, value: Any, where: str) -> Any:
        number = integer(value)
        if option is int and number is not None:
            return number
        if option is float and isinstance(value, int | float) and not isinstance(value, bool):
            return self._finite(value, where)
        if isinstance(value, str if option is Path else option) and option not in (int, float):
            return value
        return self._wrong(option, value, where)

    def _finite(self, value: int | float, where: str) -> Any:
        if abs(value) <= sys.float_info.max:  # false for nan
            return float(value)
        self._fault(where, f"expected a finite number, got {shown(value)}")
        return value

    def _sequence(self, kind: Any, args: tuple[Any, ...], value: Sequence[Any], where: str) -> list[Any]:
        if kind is tuple and args and Ellipsis not in args and len(args) != len(value):
            self._fault(where, f"expected {_in_words(tuple[args])}, got {shown(value)}")
            return list(value)
        fixed = kind is tuple and Ellipsis not in args and bool(args)
        types = args if fixed else (args[0] if args else Any,) * len(value)
        return [
            self.value(of, item, f"{where}[{index}]") for index, (of, item) in enumerate(zip(types, value, strict=True))
        ]

    def _built(self, option: Any, node: Mapping[str, Any], where: str) -> Any:
        checked = self.node(node, where, waits=takes_callable(option))
        if not self.faults and inspect.isclass(option) and not getattr(option, "_is_protocol", False):
            target = resolve(node["_target_"])
            if inspect.isclass(target) and not issubclass(target, option):
                self._fault(where, f"expected {described(option)}, got {node['_target_']}")
        return checked

    def _named(self, option: Any, name: str, where: str) -> str:
        try:
            found = resolve(name, where)
        except ConfigError as error:
            self.faults += error.faults
            return name
        wanted = next((kind for kind in get_args(option) if takes_class(option) and inspect.isclass(kind)), object)
        if takes_class(option) and not (inspect.isclass(found) and issubclass(found, wanted)):
            self._fault(where, f"expected {described(option)}, got '{name}'")
        if get_args(option)[:1] == ([],) and (missing := sorted(parameters(found).required)):
            self._fault(where, f"'{name}' is called without arguments, and needs {' and '.join(missing)}")
        return name

    def _wrong(self, option: Any, value: Any, where: str) -> Any:
        is_choice = get_origin(option) is Literal and isinstance(value, str)
        close = nearest(value, map(str, get_args(option))) if is_choice else None
        remedy = f"; nearest is '{close}'" if close else ""
        self._fault(where, f"expected {described(option)}, got {shown(value)}{remedy}")
        return value

    def _fault(self, where: str, message: str, *, unknown: bool = False) -> None:
        self.faults.append(Fault(where, message, unknown=unknown))


def unknown_key(key: str, target: str, valid: Iterable[str], where: str) -> Fault:
    """The fault of a key that a class does not take."""
    group = f"it is a group of its own: {key}=OPTION" if key in GROUPS else None
    remedy = ELSEWHERE.get((target, key)) or group or hint(key, valid, f"{where}.")
    return Fault(f"{where}.{key}", f"unknown key of {target}; {remedy}", unknown=True)


ELSEWHERE = {
    ("qframe.replay.RolloutBuffer", "n_step"): "returns over several steps are the estimator's: estimator=td_lambda",
    ("qframe.replay.RolloutBuffer", "capacity"): "its size is replay.steps of every environment",
    ("qframe.replay.RolloutBuffer", "batch_size"): "its batches are the rollout divided by replay.minibatches",
}
"""The place of settings that other classes of a group take, by class and key."""


def described(annotation: Any) -> str:
    """A type in words.

    >>> described(int | None), described(tuple[float, float])
    ('an integer (e.g. 1000, 1e6, 50k or 1M) or null', 'a list of 2: a number, a number')
    """
    return " or ".join(dict.fromkeys(_in_words(option) for option in alternatives(annotation)))


def shown(value: Any) -> str:
    """A value as a config writes it, cut to one line.

    >>> shown(True), shown("x"), shown({"_target_": "qframe.A"})
    ('true', "'x'", 'a qframe.A')
    """
    if isinstance(value, Mapping):
        return f"a {value['_target_']}" if "_target_" in value else "a mapping without _target_"
    text = repr(value) if value not in (True, False, None) or type(value) in (int, float) else json.dumps(value)
    return text if len(text) <= 60 else f"{text[:57]}…"


def _in_words(option: Any) -> str:
    kind, args = get_origin(option) or option, get_args(option)
    if option in SCALARS:
        return SCALARS[option]
    if option is Any or option is None:
        return "a value"
    if kind is Literal:
        return "one of " + ", ".join(map(str, args))
    if takes_class(option):
        return f"the dotted name of a class{f' under {args[0].__name__}' if args and inspect.isclass(args[0]) else ''}"
    if takes_callable(option):
        return "a mapping with _target_, or the dotted name of a function"
    if _is_enum(kind):
        return "one of " + ", ".join(kind.__members__)
    if _is_mapping(kind):
        return "a mapping"
    if _is_sequence(kind):
        if kind is tuple and args and Ellipsis not in args:
            return f"a list of {len(args)}: " + ", ".join(map(described, args))
        return f"a list (each {described(args[0])})" if args else "a list"
    return f"a mapping with _target_ that builds a {getattr(option, '__name__', option)}"


def _is_mapping(kind: Any) -> bool:
    return is_typeddict(kind) or (inspect.isclass(kind) and issubclass(kind, Mapping))


def _is_sequence(kind: Any) -> bool:
    """Whether a YAML list can stand for it: a list, a tuple, a set, or an abstract collection they all are."""
    if not inspect.isclass(kind) or issubclass(kind, str | bytes | Mapping):
        return False
    is_abstract = kind.__module__ == "collections.abc" and issubclass(list, kind)
    return is_abstract or issubclass(kind, list | tuple | AbstractSet)


def _is_enum(kind: Any) -> bool:
    return inspect.isclass(kind) and issubclass(kind, enum.Enum)


def _is_object(option: Any) -> bool:
    kind = get_origin(option) or option
    return inspect.isclass(kind) and kind not in SCALARS and not _is_mapping(kind) and not _is_enum(kind)


Provided = Mapping[str, AbstractSet[str]]


def validate(
    config: Mapping[str, Any], provided: Provided, also: Iterable[str] = ()
) -> tuple[dict[str, Any], list[Fault]]:
    """The config with its numbers normalised (``1M`` is 1000000), and all of its faults.

    Args:
        config: the composed config as plain values, interpolations resolved.
        provided: constructor parameters given at run time, by place (``{"head": {"num_actions"}}``): they are never
            missing, and the config must not set them.
        also: further names to suggest for an unknown top-level key (``experiment``).
    """
    checker, config = Checker(provided), {**EARLIER, **config}
    checked, checker.faults = validate_settings(config, also)
    for key in [group for group in GROUPS if group in config]:
        if key == "collector" and isinstance(config[key], Mapping) and config[key].items() >= AUTO_COLLECTOR.items():
            checked[key] = AUTO_COLLECTOR
            for unknown in config[key].keys() - AUTO_COLLECTOR.keys():
                message = "unknown key: collector=auto takes none; choose a collector by its name"
                checker.faults.append(Fault(f"{key}.{unknown}", message, unknown=True))
        elif key == "trunk" and isinstance(config[key], Mapping) and config[key].get("_target_") == "auto":
            checked[key] = dict(config[key])  # checked once the trunk is picked
        elif isinstance(config[key], Mapping):
            node = dict(config[key])
            # Evaluation's changes of the environments are checked where these environments are built.
            held = {"env": node.pop("env")} if key == "evaluation" and isinstance(node.get("env"), Mapping) else {}
            checked[key] = checker.node(node, key) | held
            foreign = refused_import(config[key].get("id")) if key == "env" else None
            if foreign:
                checker.faults.append(Fault("env.id", foreign, unknown=True))
        else:
            message = f"expected a mapping with _target_, got {shown(config[key])}; choose one with {key}=OPTION"
            checker.faults.append(Fault(key, message))
    return checked, checker.faults


def _keys(group: str, node: Any) -> Collection[Any]:
    """The keys of a group; those of ``trunk=auto`` are the usual trunk's."""
    if group == "trunk" and isinstance(node, Mapping) and node.get("_target_") == "auto":
        return {*node, *OmegaConf.load(conf_dir() / "trunk" / "mlp.yaml")}
    return node or ()


def validate_settings(config: Mapping[str, Any], also: Iterable[str] = ()) -> tuple[dict[str, Any], list[Fault]]:
    """The top level of a config: its settings, and the faults of these and of missing and unknown keys."""
    checker, config = Checker({}), {**EARLIER, **config}
    checked = {key: _setting(checker, key, config[key]) for key in SETTINGS if key in config}
    known = (*SETTINGS, *GROUPS)
    for key in [key for key in known if key not in config]:
        remedy = f"choose one with {key}=OPTION" if key in GROUPS else f"set it with {key}=…"
        checker.faults.append(Fault(key, f"missing; {remedy}"))
    for key in config.keys() - set(known):
        names = (*known, *also)
        places = [f"{group}.{key}" for group in GROUPS if key in _keys(group, config.get(group))]
        remedy = f"it is {' or '.join(places)}" if places else hint(str(key), names)
        checker.faults.append(Fault(str(key), f"unknown key; {remedy}", unknown=True))
    return checked, checker.faults


def _setting(checker: Checker, key: str, value: Any) -> Any:
    kind, rule = SETTINGS[key]
    before = len(checker.faults)
    value = checker.value(kind, value, key)
    message = rule(value) if len(checker.faults) == before else None
    if message:
        checker.faults.append(Fault(key, message))
    return value
