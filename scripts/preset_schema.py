"""Write ``docs/preset.schema.json``, which lets editors complete presets: ``python scripts/preset_schema.py``.

Groups, options and comments come from ``conf/``, types from the constructors. A preset uses it by a first line
``# yaml-language-server: $schema=…/preset.schema.json``. Unknown keys inside a group are left to ``qframe check``: a
user's own option may have others.
"""

import importlib
import inspect
import json
import re
import types
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import yaml

ROOT = Path(__file__).parents[1]
CONF = ROOT / "conf"
FILE = ROOT / "docs" / "preset.schema.json"
CHOSEN_ALONE = ("experiment", "sweep", "hydra")
"""Groups without keys of their own in a preset."""
COMMENT = re.compile(r"^(\s*)(\w+):.*?# (.*)$", re.MULTILINE)
SCALARS: dict[Any, str] = {bool: "boolean", float: "number", str: "string", Path: "string", type(None): "null"}
SCORE = {
    "description": "the score that the preset reaches; read by qframe bench only",
    "type": "object",
    "required": ["algorithm", "expected", "metric", "protocol", "seeds"],
}


def schema() -> dict[str, Any]:
    """The schema as plain values."""
    train = (CONF / "train.yaml").read_text(encoding="utf-8")
    values, comments = yaml.safe_load(train), _comments(train)
    top = {
        key: _described(_of_value(value), comments.get(key)) for key, value in values.items() if key != "defaults"
    }
    groups = sorted(path.name for path in CONF.iterdir() if path.is_dir())
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "qframe preset",
        "type": "object",
        "additionalProperties": False,
        "properties": {
            "defaults": {"type": "array", "items": {"anyOf": [*map(_choice, groups), {"type": "string"}]}},
            "score": SCORE,
            **top,
            **{group: _group(group) for group in groups if group not in CHOSEN_ALONE},
            "hydra": {"type": "object"},
        },
    }


def _choice(group: str) -> dict[str, Any]:
    """An entry of the defaults list; a user's own options are allowed, those of qframe are completed."""
    names = sorted(str(path.relative_to(CONF / group).with_suffix("")) for path in (CONF / group).rglob("*.yaml"))
    value = {"anyOf": [{"enum": names}, {"type": ["string", "null"]}]}
    return {"type": "object", "properties": {f"override /{group}": value}, "additionalProperties": False}


def _group(group: str) -> dict[str, Any]:
    """The keys of all options of a group together; a key of several types takes any of them."""
    found: dict[str, list[dict[str, Any]]] = {}
    for path in sorted((CONF / group).glob("*.yaml")):
        text = path.read_text(encoding="utf-8")
        for key, entry in _node(yaml.safe_load(text), _comments(text)).items():
            found.setdefault(key, []).append(entry)
    return {"type": "object", "properties": {key: _either(entries) for key, entries in found.items()}}


def _node(node: Mapping[str, Any], comments: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    hints = _hints(node["_target_"]) if str(node.get("_target_", "")).startswith("qframe.") else {}
    entries: dict[str, dict[str, Any]] = {}
    for key, value in node.items():
        if key == "_target_":
            entries[key] = {"type": "string", "description": "the class that is built, by its dotted name"}
        elif key != "defaults" and isinstance(value, Mapping) and "_target_" in value:
            inner = _node(value, comments)
            entries[key] = _described({"type": "object", "properties": inner}, comments.get(key))
        elif key != "defaults":
            typed = _of_type(hints[key]) if key in hints else _of_value(value)
            if value == "auto":
                typed = _either([typed, {"enum": ["auto"]}])
            entries[key] = _described(typed, comments.get(key))
    return entries


def _hints(target: str) -> dict[str, Any]:
    """The types of a constructor's parameters, and of the constructors that get its ``**kwargs``."""
    module, _, name = target.rpartition(".")
    found = getattr(importlib.import_module(module), name)
    if not inspect.isclass(found):
        return get_type_hints(found)
    hints: dict[str, Any] = {}
    for owner in found.__mro__:
        if "__init__" in vars(owner):
            constructor: Any = vars(owner)["__init__"]
            hints = get_type_hints(constructor) | hints
            kinds = {parameter.kind for parameter in inspect.signature(constructor).parameters.values()}
            if inspect.Parameter.VAR_KEYWORD not in kinds:
                break
    return hints


def _of_type(annotation: Any) -> dict[str, Any]:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin in (Union, types.UnionType):
        return _either([_of_type(argument) for argument in arguments])
    if origin is Literal:
        return {"enum": list(arguments)}
    if annotation is int:  # 50k and 1M are integers too
        return {"anyOf": [{"type": "integer"}, {"type": "string", "pattern": r"^[\d_.e+]+[kKM]?$"}]}
    if annotation in SCALARS:
        return {"type": SCALARS[annotation]}
    kind = origin or annotation
    if inspect.isclass(kind) and issubclass(kind, Mapping):
        return {"type": "object"}
    if inspect.isclass(kind) and issubclass(kind, Sequence):
        return {"type": "array"}
    return {}


def _of_value(value: Any) -> dict[str, Any]:
    if value == "auto":
        return {}
    return _of_type(type(value)) if value is not None else {}


def _either(entries: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """One entry for several: their types as alternatives, the first description."""
    plain = [{key: value for key, value in entry.items() if key != "description"} for entry in entries]
    unique = [entry for index, entry in enumerate(plain) if entry not in plain[:index]]
    flat = [option for entry in unique for option in (entry["anyOf"] if set(entry) == {"anyOf"} else [entry])]
    merged = {} if {} in flat else flat[0] if len(flat) == 1 else {"anyOf": flat}
    text = next((entry["description"] for entry in entries if "description" in entry), None)
    return _described(merged, text)


def _described(entry: dict[str, Any], comment: str | None) -> dict[str, Any]:
    return {**entry, "description": comment} if comment else entry


def _comments(text: str) -> dict[str, str]:
    """The comment beside each key."""
    return {key: comment for _, key, comment in COMMENT.findall(text)}


def written() -> str:
    """The file's text."""
    return json.dumps(schema(), indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    FILE.write_text(written(), encoding="utf-8")
