"""Value estimators by name, and how one is made from a name, a class or an object.

To add an estimator, write a class with ``requires`` and ``__call__`` and name it in YAML. It never sees a head's
parameters.
"""

from enum import Enum
from functools import singledispatch
from inspect import signature
from typing import Any, cast

from qframe.estimators.one_step import TD0
from qframe.estimators.protocol import ValueEstimator
from qframe.estimators.soft import Munchausen, SoftTD0
from qframe.estimators.traces import TD1, Retrace, TDLambda, WatkinsQLambda


class ValueEstimators(Enum):
    """The estimators by name, in any spelling; two of them have a second name.

    Raises:
        ValueError: an unknown estimator; the message lists all.

    >>> ValueEstimators("td-lambda") is ValueEstimators("Peng's Q(λ)")
    True
    """

    TD0 = "TD0"
    TD1 = "TD1"
    TDLambda = "TDLambda"
    PengsQLambda = "TDLambda"  # noqa: PIE796
    WatkinsQLambda = "WatkinsQLambda"
    Watkins = "WatkinsQLambda"  # noqa: PIE796
    Retrace = "Retrace"
    SoftTD0 = "SoftTD0"
    Munchausen = "Munchausen"

    @classmethod
    def _missing_(cls, value: object) -> "ValueEstimators":
        plain = str(value).lower().replace("λ", "lambda").translate(str.maketrans("", "", "-_() '"))
        for name, member in cls.__members__.items():
            if name.lower() == plain:
                return member
        known = ", ".join(member.value for member in cls)
        raise ValueError(f"there is no value estimator {value!r}; choose one of {known}")


_CLASSES: dict[ValueEstimators, type] = {
    ValueEstimators.TD0: TD0,
    ValueEstimators.TD1: TD1,
    ValueEstimators.TDLambda: TDLambda,
    ValueEstimators.WatkinsQLambda: WatkinsQLambda,
    ValueEstimators.Retrace: Retrace,
    ValueEstimators.SoftTD0: SoftTD0,
    ValueEstimators.Munchausen: Munchausen,
}


@singledispatch
def make_estimator(value_type: Any, given: dict[str, Any], kept: dict[str, Any]) -> ValueEstimator:
    """An estimator from a ``ValueEstimators`` member, its name, a class, or the estimator itself.

    A member of another enumeration, such as TorchRL's, is read by its name.

    Args:
        value_type: the estimator to make.
        given: hyperparameters, which the constructor must take.
        kept: earlier hyperparameters, used if the constructor takes them and ``given`` does not replace them.

    Raises:
        ValueError: a hyperparameter that the constructor does not take, or an object that is no estimator.
        NotImplementedError: a member of another enumeration that names no estimator here.
    """
    if given:
        raise ValueError(f"an estimator that is already built takes no hyperparameters, got {', '.join(given)}")
    if not (callable(value_type) and hasattr(value_type, "requires")):
        known = ", ".join(member.value for member in ValueEstimators)
        raise ValueError(
            f"a value estimator is one of {known}, or an object with `requires` and `__call__`, got {value_type!r}"
        )
    return cast(ValueEstimator, value_type)


@make_estimator.register
def _(value_type: str, given: dict[str, Any], kept: dict[str, Any]) -> ValueEstimator:
    return make_estimator(ValueEstimators(value_type), given, kept)


@make_estimator.register
def _(value_type: Enum, given: dict[str, Any], kept: dict[str, Any]) -> ValueEstimator:
    if value_type.name not in ValueEstimators.__members__:  # the name of another library's estimator
        known = ", ".join(member.value for member in ValueEstimators)
        raise NotImplementedError(f"there is no value estimator {value_type.name}; choose one of {known}")
    return make_estimator(ValueEstimators[value_type.name], given, kept)


@make_estimator.register
def _(value_type: ValueEstimators, given: dict[str, Any], kept: dict[str, Any]) -> ValueEstimator:
    return make_estimator(_CLASSES[value_type], given, kept)


@make_estimator.register
def _(value_type: type, given: dict[str, Any], kept: dict[str, Any]) -> ValueEstimator:
    known = signature(value_type).parameters
    unknown = [name for name in given if name not in known]
    if unknown:
        takes = ", ".join(["gamma", *known])
        raise ValueError(f"{value_type.__name__} takes {takes}, not {', '.join(unknown)}")
    return value_type(**{name: value for name, value in {**kept, **given}.items() if name in known})
