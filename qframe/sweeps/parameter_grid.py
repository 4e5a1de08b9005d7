"""The jobs of a sweep: every combination of the values given; keys that are zipped vary together."""

from collections.abc import Iterator, Sequence
from itertools import product
from math import prod

from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.types import IntervalSweep, Override

from qframe.config.compose import parsed
from qframe.errors import ConfigError, Fault, hint

ZIP = "hydra.sweeper.zip"
Axis = list[tuple[str, ...]]
"""Keys that vary together: one tuple of overrides per step."""


def grid(
    texts: Sequence[str], params: Sequence[str], zipped: Sequence[Sequence[str]], loader: ConfigLoader
) -> list[tuple[str, ...]]:
    """The overrides of every job, without duplicates, the first axis varying slowest.

    Args:
        texts: the command line, without Hydra's own keys.
        params: ``hydra.sweeper.params`` as ``key=values``; the command line wins.
        zipped: groups of keys that vary together, such as ``[["env", "total_frames"]]``.
        loader: expands ``glob(*)``.

    Raises:
        ConfigError: a zipped key is not swept over, zipped keys have unequal numbers of values, or one has an interval.
    """
    found = axes(texts, params, zipped, loader)
    return list(dict.fromkeys(_job(steps) for steps in product(*found)))


def samples(
    texts: Sequence[str],
    params: Sequence[str],
    zipped: Sequence[Sequence[str]],
    loader: ConfigLoader,
    *,
    most: int,
    with_intervals: bool = False,
) -> Iterator[tuple[str, ...]]:
    """All jobs if they are at most ``most``, else enough for each value to occur; an interval gives its lower end."""
    found = axes(texts, params, zipped, loader, with_intervals=with_intervals)
    if prod(map(len, found)) <= most:
        yield from (_job(steps) for steps in product(*found))
    else:
        for index in range(max(map(len, found))):
            yield _job([axis[min(index, len(axis) - 1)] for axis in found])


def axes(
    texts: Sequence[str],
    params: Sequence[str],
    zipped: Sequence[Sequence[str]],
    loader: ConfigLoader,
    *,
    with_intervals: bool = False,
) -> list[Axis]:
    """One axis for every key or group of zipped keys, in the order of the command line."""
    values: dict[str, list[str]] = {}
    for text in (*params, *texts):
        override = parsed(text, loader, [])
        if override is None:
            values[text] = [text]
        elif isinstance(override.value(), IntervalSweep) and not with_intervals:
            message = f"'{text}' is an interval; list values, such as 1e-4,1e-3, or use hydra/sweeper=optuna"
            raise ConfigError([Fault(override.key_or_group, message, "command line")])
        else:
            key = override.get_key_element().lstrip("+")
            values[key] = _values(override, text)
    _check_zipped(values, zipped)
    group_of = {key: tuple(group) for group in zipped for key in group}
    groups = dict.fromkeys(group_of.get(key, (key,)) for key in values)
    return [list(zip(*(values[key] for key in group), strict=True)) for group in groups]


def _check_zipped(values: dict[str, list[str]], zipped: Sequence[Sequence[str]]) -> None:
    swept = [key for key, choices in values.items() if len(choices) > 1]
    faults = []
    listed = [key for group in zipped for key in group]
    for key in listed:
        if key not in swept:
            message = f"the key '{key}' does not have several values; {hint(key, swept)}"
            faults.append(Fault(ZIP, message, unknown=True))
        if listed.count(key) > 1:
            faults.append(Fault(ZIP, f"the key '{key}' is in several groups; keep it in one", unknown=True))
    for group in zipped:
        lengths = {key: len(values[key]) for key in group if key in swept}
        if len(set(lengths.values())) > 1:
            numbers = ", ".join(f"{key} has {length}" for key, length in lengths.items())
            message = f"keys that vary together need equally many values: {numbers}"
            faults.append(Fault(ZIP, message, unknown=True))
    if faults:
        raise ConfigError(faults)


def _values(override: Override, text: str) -> list[str]:
    """``key=value`` for each value of one override."""
    key = override.get_key_element().lstrip("+")
    if override.is_discrete_sweep():
        return [f"{key}={value}" for value in override.sweep_string_iterator()]
    value = override.value()
    if isinstance(value, IntervalSweep):
        return [f"{key}={value.start}"]
    return [text.lstrip("+")]


def _job(steps: Sequence[tuple[str, ...]]) -> tuple[str, ...]:
    return tuple(override for step in steps for override in step)
