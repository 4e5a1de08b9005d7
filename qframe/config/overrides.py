"""What stands on the command line: each override read on its own, so that one mistake does not hide the next.

Hydra stops at the first unknown key and proposes a ``+`` to force it in. Here every value is forced in, and the
check against the constructors' signatures (which knows the valid keys) then names all that are unknown.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, Quote, QuotedString
from hydra.errors import HydraException

from qframe.config.hydra_app import groups, options
from qframe.errors import Fault, hint

SOURCE = "command line"


@dataclass
class Overrides:
    """The command line as Hydra is to get it.

    Args:
        hydra: overrides in Hydra's grammar, values forced in.
        deleted: keys of values that ``~key`` takes out.
        keys: the places that the command line sets.
        broken: groups whose choice is not an option; what is said about them later would be beside the point.
        faults: what is wrong already.
    """

    hydra: list[str] = field(default_factory=list)
    deleted: list[str] = field(default_factory=list)
    keys: set[str] = field(default_factory=set)
    broken: set[str] = field(default_factory=set)
    faults: list[Fault] = field(default_factory=list)


def read(texts: Iterable[str], loader: ConfigLoader, *, sweep: bool = False) -> Overrides:
    """The overrides with groups and options checked.

    Args:
        texts: as typed, one override each.
        loader: knows the groups and their options.
        sweep: several values (``seed=1,2``) are allowed.
    """
    result = Overrides()
    known = groups(loader)
    chosen: dict[str, Any] = {}
    for text in texts:
        override = parsed(text, loader, result.faults)
        if override is None:
            continue
        key = override.key_or_group
        if not override.is_delete():
            chosen[key] = None if override.is_sweep_override() else override.value()
        if not key:
            message = f"expected key=value or group=option, got '{text}'"
            result.faults.append(Fault("", message, SOURCE, unknown=True))
        elif override.is_sweep_override() and not sweep:
            message = f"expected one value, got several: '{text}'; add -m to sweep over them, or write a list as [1,2]"
            result.faults.append(Fault(key, message, SOURCE))
        elif override.is_hydra_override() or key == "hydra":
            result.hydra.append(text)
            result.keys.add(key)
        elif key in known and not isinstance(override.value(), dict):
            _choice(override, options(loader, key), result)
        elif override.package is not None or "/" in key:
            result.faults.append(Fault(key, f"unknown group; {hint(key, known)}", SOURCE, unknown=True))
        elif override.is_delete():
            result.deleted.append(key)
        else:
            result.keys.add(key)
            result.hydra.append(f"++{text.lstrip('+')}")
    if (name := own_name(chosen)) is not None:
        result.keys.add("name")
        result.hydra.insert(0, f"++name={name}")
    return result


def own_name(chosen: Mapping[str, Any]) -> str | None:
    """The name of a run on another environment than the usual preset's, where nobody has given it one.

    Args:
        chosen: values on the command line, by key or group; None of what is swept over.

    >>> own_name({"env": "minatar", "env.game": "freeway"}), own_name({"env": "gymnasium", "env.id": "mylab.Odd-v0"})
    ('minatar_freeway', 'Odd-v0')
    """
    if chosen.keys() & {"experiment", "name"}:
        return None
    env = chosen.get("env")
    values = env if isinstance(env, dict) else {"family": None if env == "gymnasium" else env}
    values |= {key.removeprefix("env."): value for key, value in chosen.items() if key.startswith("env.")}
    words = [str(values[key]) for key in ("family", "id", "game") if values.get(key) is not None]
    if set(words) <= {"cartpole", "CartPole-v1"} or any("$" in word for word in words):
        return None
    return re.sub(r"[^\w-]+", "_", "_".join(re.split(r"[:.]", word)[-1] for word in words))


def pinned_folder(kind: str, folder: Path) -> str:
    """The override that fixes the folder of a ``run`` or ``sweep``: what was checked is what is written to."""
    return f"hydra.{kind}.dir={QuotedString(str(folder), Quote.single).with_quotes()}"


def parsed(text: str, loader: ConfigLoader, faults: list[Fault]) -> Override | None:
    """One override read by Hydra's grammar; None, and a fault, where it is none."""
    try:
        return OverridesParser.create(config_loader=loader).parse_overrides([text])[0]
    except HydraException as error:
        told = str(error).removeprefix(f"Error parsing override '{text}'").split("\nSee http")[0]
        reason = re.sub(r"\s+", " ", told).strip()
        if "NoViableAlt" in reason:  # the parser's own words, and no reader's
            reason = "a character that needs quotes"
        remedy = "quote values with special characters, as \"name='…'\""
        message = f"expected key=value or group=option, got '{text}' ({reason}); {remedy}"
        faults.append(Fault("", message, SOURCE, unknown=True))
        return None


def _choice(override: Override, known: list[str], result: Overrides) -> None:
    group, text = override.key_or_group, override.input_line or ""
    if override.is_delete():
        result.hydra.append(text)
        return
    chosen = _options_chosen(override)
    wrong = [name for name in chosen if name not in known]
    for name in wrong:
        result.faults.append(Fault(group, f"unknown option '{name}'; {hint(name, known)}", SOURCE, unknown=True))
    if wrong:
        result.broken.add(group)
    else:
        result.hydra.append(text.lstrip("+"))


def _options_chosen(override: Override) -> list[str]:
    if override.is_discrete_sweep():
        return list(override.sweep_string_iterator())
    value = override.value()
    return ["null" if item is None else str(item) for item in (value if isinstance(value, list) else [value])]
