"""Value estimators by name, and those that run along time. They never see a head's parameters.

To add one, write a class with ``requires`` and ``__call__`` and name it in YAML. Shapes: ``*B`` any batch
dimensions, ``T`` time (the last of them), ``A`` actions.
"""

from enum import Enum
from functools import singledispatch
from inspect import signature
from typing import Any, cast

import torch

from qframe.functional import LambdaBackup, greedy
from qframe.objectives.q_learning import TD0, Batch, Bootstrap, ValueEstimator, Values


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
