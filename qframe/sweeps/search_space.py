"""The space that a search samples, from the values on the command line in Hydra's grammar."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import optuna
from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.types import IntervalSweep, Override, RangeSweep
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from qframe.config.compose import parsed
from qframe.errors import ConfigError, Fault
from qframe.runs.swept import Swept
from qframe.sweeps.parameter_grid import grid


class Space(NamedTuple):
    """The space of a search.

    Args:
        distributions: of the parameters that each trial samples.
        fixed: overrides that all trials share.
        repeats: overrides that every trial runs once each, such as seeds.
    """

    distributions: dict[str, BaseDistribution]
    fixed: tuple[str, ...]
    repeats: list[tuple[str, ...]]

    @property
    def swept(self) -> Swept:
        """The keys in which trials differ, and those of the jobs of one."""
        repeated = dict.fromkeys(text.partition("=")[0] for repeat in self.repeats for text in repeat)
        return Swept((*self.distributions, *repeated))

    def overrides(self, params: dict[str, Any]) -> list[tuple[str, ...]]:
        """The overrides of a trial's jobs, one job per repeat."""
        return [(*self.fixed, *format_parameters(params), *repeat) for repeat in self.repeats]


def space(texts: Sequence[str], params: Sequence[str], mean_over: Sequence[str], loader: ConfigLoader) -> Space:
    """The space of a search.

    Args:
        texts: the command line, without Hydra's own overrides.
        params: ``hydra.sweeper.params`` as ``key=values``; the command line wins.
        mean_over: keys whose values are all run in every trial.
        loader: resolves ``glob(*)``.

    Raises:
        ConfigError: there is nothing to search.

    >>> with __import__("qframe.config.hydra_app").config.hydra_app.hydra_app() as app:
    ...     found = space(["seed=1,2", "gamma=interval(0.9,1)"], [], ["seed"], app.config_loader)
    >>> found.distributions["gamma"], found.repeats
    (FloatDistribution(high=1.0, log=False, low=0.9, step=None), [('seed=1',), ('seed=2',)])
    """
    given: dict[str, tuple[str, Override]] = {}
    for text in (*params, *texts):
        override = parsed(text, loader, [])
        if override is not None:
            given[override.get_key_element().lstrip("+")] = (text, override)
    distributions: dict[str, BaseDistribution] = {}
    fixed: list[str] = []
    repeated: list[str] = []
    for key, (text, override) in given.items():
        if not override.is_sweep_override():
            fixed.append(text.lstrip("+"))
        elif key in mean_over:
            repeated.append(text)
        else:
            distributions[key] = distribution(key, override)
    if not distributions:
        remedy = "add values, e.g. optimizer.lr='tag(log,interval(1e-4,1e-2))', head=scalar,categorical, or sweep=dqn"
        raise ConfigError([Fault("", f"there is nothing to search; {remedy}", "command line")])
    return Space(distributions, tuple(fixed), grid(repeated, [], [], loader))


def distribution(key: str, override: Override) -> BaseDistribution:
    """The distribution of one key: an interval, logarithmic if tagged ``log``, a range, or a choice.

    Raises:
        ConfigError: an interval is empty, or logarithmic and starts at 0.
    """
    value = override.value()
    try:
        if isinstance(value, IntervalSweep):
            assert value.start is not None and value.end is not None  # noqa: PT018
            is_log = "log" in value.tags
            if isinstance(value.start, int) and isinstance(value.end, int):
                return IntDistribution(value.start, value.end, log=is_log)
            return FloatDistribution(float(value.start), float(value.end), log=is_log)
        if isinstance(value, RangeSweep):
            numbers = list(value.range())
            if all(isinstance(number, int) for number in numbers) and numbers == sorted(numbers):
                return IntDistribution(int(numbers[0]), int(numbers[-1]), step=int(value.step))
        return CategoricalDistribution(list(override.sweep_string_iterator()))
    except (ValueError, IndexError) as error:
        raise ConfigError([Fault(key, f"cannot search these values: {error}", "command line")]) from error


def sampler(name: str, seed: int) -> optuna.samplers.BaseSampler:
    """Optuna's sampler of this name: ``tpe``, ``gp`` or ``random``.

    Raises:
        ConfigError: there is no such name.
    """
    known = {"tpe": "TPESampler", "gp": "GPSampler", "random": "RandomSampler"}
    if name not in known:
        raise ConfigError([Fault("hydra.sweeper.sampler", f"expected one of {', '.join(known)}, got '{name}'")])
    return getattr(optuna.samplers, known[name])(seed=seed)


def pruner(name: str | None, *, startup_trials: int) -> optuna.pruners.BasePruner:
    """Optuna's pruner of this name: ``median``, ``halving``, or None.

    Args:
        name: of the pruner.
        startup_trials: finished trials before the median prunes.

    Raises:
        ConfigError: there is no such name.
    """
    if name == "median":
        return optuna.pruners.MedianPruner(n_startup_trials=startup_trials)
    if name == "halving":
        return optuna.pruners.SuccessiveHalvingPruner()
    if name is None:
        return optuna.pruners.NopPruner()
    raise ConfigError([Fault("hydra.sweeper.pruner", f"expected median, halving or null, got '{name}'")])


def format_parameters(params: dict[str, Any]) -> tuple[str, ...]:
    """Parameters as overrides, with numbers rounded to four significant digits.

    >>> format_parameters({"optimizer.lr": 0.00034120392, "head": "scalar"})
    ('optimizer.lr=0.0003412', 'head=scalar')
    """
    return tuple(f"{key}={f'{value:.4g}' if isinstance(value, float) else value}" for key, value in params.items())
