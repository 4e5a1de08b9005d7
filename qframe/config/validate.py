"""Checking a whole config: the top level against the schema, every group against the constructor it names."""

from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from typing import Any

from qframe.config.auto import AUTO_COLLECTOR
from qframe.config.schema import GROUPS, SETTINGS
from qframe.config.signature import Checker, shown
from qframe.config.targets import refused_import
from qframe.errors import Fault, hint

Provided = Mapping[str, AbstractSet[str]]


def validate(
    config: Mapping[str, Any], provided: Provided, also: Iterable[str] = ()
) -> tuple[dict[str, Any], list[Fault]]:
    """All that is wrong with a config, and the config with its numbers normalised (``1M`` is 1000000).

    Args:
        config: the composed config as plain values, interpolations resolved.
        provided: constructor parameters given at run time, by place (``{"head": {"num_actions"}}``): they are not
            missing, and they may not stand in the config.
        also: further names that may have been meant where a top-level key is unknown (``experiment``).
    """
    checker = Checker(provided)
    checked: dict[str, Any] = {}
    known = (*SETTINGS, *GROUPS)
    for key in known:
        if key not in config:
            remedy = f"choose one by {key}=OPTION" if key in GROUPS else f"set it by {key}=…"
            checker.faults.append(Fault(key, f"missing; {remedy}"))
        elif key in SETTINGS:
            checked[key] = _setting(checker, key, config[key])
        elif key == "collector" and isinstance(config[key], Mapping) and config[key].items() >= AUTO_COLLECTOR.items():
            checked[key] = AUTO_COLLECTOR
            for unknown in config[key].keys() - AUTO_COLLECTOR.keys():
                message = "unknown key of collector=auto, which has none; choose a collector by its name"
                checker.faults.append(Fault(f"{key}.{unknown}", message, unknown=True))
        elif isinstance(config[key], Mapping):
            node = dict(config[key])
            # What evaluation changes of the environments is checked with all else of them, where they are built.
            held = {"env": node.pop("env")} if key == "evaluation" and isinstance(node.get("env"), Mapping) else {}
            checked[key] = checker.node(node, key) | held
            foreign = refused_import(config[key].get("id")) if key == "env" else None
            if foreign:
                checker.faults.append(Fault("env.id", foreign, unknown=True))
        else:
            message = f"expected a mapping with _target_, got {shown(config[key])}; choose one by {key}=OPTION"
            checker.faults.append(Fault(key, message))
    for key in config.keys() - set(known):
        names = (*known, *also)
        checker.faults.append(Fault(str(key), f"unknown key; {hint(str(key), names)}", unknown=True))
    return checked, checker.faults


def _setting(checker: Checker, key: str, value: Any) -> Any:
    kind, rule = SETTINGS[key]
    before = len(checker.faults)
    value = checker.value(kind, value, key)
    message = rule(value) if len(checker.faults) == before else None
    if message:
        checker.faults.append(Fault(key, message))
    return value
