"""Value estimators: which bootstraps a target uses. They never see a head's parameters.

To add one, write a class with ``requires`` and ``__call__`` and name it in YAML. Shapes: ``*B`` any batch
dimensions, ``T`` time (the last of them), ``A`` actions.
"""

from enum import Enum
from functools import singledispatch
from inspect import signature
from typing import Any, NamedTuple, Protocol, cast

import torch
from torch import Tensor

from qframe.functional import Backup, LambdaBackup, greedy
from qframe.objectives.batch import Batch


class Values(NamedTuple):
    """The action values an estimator may look at."""

    selector: Tensor  # [*B, A], of the next state: what selects there (the online network's for double)
    target: Tensor  # [*B, A], of the next state, by the target network
    target_now: Tensor | None = None  # [*B, A], of this state, by the target network


class Bootstrap(NamedTuple):
    """Which next action's prediction to bootstrap on, and how. ``action`` None: on all actions, K = A."""

    action: Tensor | None  # [*B], an index
    backup: Backup | LambdaBackup


class ValueEstimator(Protocol):
    """What the loss asks of an estimator.

    ``requires`` is a subset of ``next_online`` (select with the online network), ``target_now`` (the target
    network's values of this state), ``behaviour_probability`` (stored with each action) and ``time`` (a time
    dimension, last).
    """

    @property
    def requires(self) -> frozenset[str]: ...

    def __call__(self, batch: Batch, values: Values) -> Bootstrap: ...


class TD0:
    """The one-step target, ``r + γ · z(s′, argmax_a q(s′, a))``; n steps where the replay folded n.

    See "Human-level control through deep reinforcement learning", Mnih et al., 2015, algorithm 1.
    """

    requires: frozenset[str] = frozenset()

    def __call__(self, batch: Batch, values: Values) -> Bootstrap:
        return Bootstrap(greedy(values.selector, batch.next_mask), Backup(batch.reward, batch.discount))


class TDLambda:
    """Peng's Q(λ): ``G_t = r_t + γ · [(1 − λ) · max_a q(s_{t+1}, a) + λ · G_{t+1}]`` to the end of the slice.

    See "Incremental Multi-Step Q-Learning", Peng and Williams, 1996, section 3.

    Args:
        lambda_: λ in [0, 1]: 0 is TD0, 1 is TD1.

    Raises:
        ValueError: λ outside [0, 1].
    """

    requires: frozenset[str] = frozenset({"time"})

    def __init__(self, *, lambda_: float = 0.95) -> None:
        if not 0 <= lambda_ <= 1:
            raise ValueError(f"expected lambda_ between 0 and 1, got {lambda_}")
        self.lambda_ = lambda_

    def __call__(self, batch: Batch, values: Values) -> Bootstrap:
        trace = torch.where(batch.done, 0.0, torch.full_like(batch.reward, self.lambda_))
        action = greedy(values.selector, batch.next_mask)  # [*B, T]
        return Bootstrap(action, LambdaBackup(batch.reward, batch.discount, trace))


class TD1(TDLambda):
    """The Monte Carlo return to the end of the slice or the episode, then one bootstrap: λ = 1.

    See "Reinforcement Learning: An Introduction", Sutton and Barto, 2018, section 12.1.
    """

    def __init__(self) -> None:
        super().__init__(lambda_=1.0)


class ValueEstimators(Enum):
    """The estimators by name, in any spelling: ``ValueEstimators("td-lambda")``.

    Raises:
        ValueError: no such estimator; lists those there are.
    """

    TD0 = "TD0"
    TD1 = "TD1"
    TDLambda = "TDLambda"

    @classmethod
    def _missing_(cls, value: object) -> "ValueEstimators":
        plain = str(value).lower().translate(str.maketrans("", "", "-_() "))
        for member in cls:
            if member.value.lower() == plain:
                return member
        known = ", ".join(member.value for member in cls)
        raise ValueError(f"expected a value estimator that this loss can use ({known}), got {value!r}")


_CLASSES: dict[ValueEstimators, type] = {
    ValueEstimators.TD0: TD0,
    ValueEstimators.TD1: TD1,
    ValueEstimators.TDLambda: TDLambda,
}


@singledispatch
def make_estimator(value_type: Any, given: dict[str, Any], kept: dict[str, Any]) -> ValueEstimator:
    """An estimator from a ``ValueEstimators`` member, its name, a class, or the estimator itself.

    Args:
        value_type: which.
        given: hyperparameters that must be used.
        kept: earlier ones, used where the constructor takes them and ``given`` does not repeat them.

    Raises:
        ValueError: a hyperparameter that the constructor does not take, or something that is no estimator.
    """
    if given:
        raise ValueError(f"expected no hyperparameters for an estimator that is built already, got {', '.join(given)}")
    if not (callable(value_type) and hasattr(value_type, "requires")):
        known = ", ".join(member.value for member in ValueEstimators)
        raise ValueError(
            f"expected {known}, or an object with `requires` and `__call__` as a value estimator, got {value_type!r}"
        )
    return cast(ValueEstimator, value_type)


@make_estimator.register
def _(value_type: str, given: dict[str, Any], kept: dict[str, Any]) -> ValueEstimator:
    return make_estimator(ValueEstimators(value_type), given, kept)


@make_estimator.register
def _(value_type: ValueEstimators, given: dict[str, Any], kept: dict[str, Any]) -> ValueEstimator:
    return make_estimator(_CLASSES[value_type], given, kept)


@make_estimator.register
def _(value_type: type, given: dict[str, Any], kept: dict[str, Any]) -> ValueEstimator:
    known = signature(value_type).parameters
    unknown = [name for name in given if name not in known]
    if unknown:
        takes = ", ".join(["gamma", *known])
        raise ValueError(f"expected hyperparameters of {value_type.__name__} ({takes}), got {', '.join(unknown)}")
    return value_type(**{name: value for name, value in {**kept, **given}.items() if name in known})
