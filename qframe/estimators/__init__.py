"""Value estimators: which bootstraps a target uses, and how they are weighted."""

from qframe.estimators.factory import ValueEstimators
from qframe.estimators.one_step import TD0
from qframe.estimators.protocol import Batch, Bootstrap, ValueEstimator, Values
from qframe.estimators.soft import Munchausen, SoftTD0
from qframe.estimators.traces import TD1, Retrace, TDLambda, WatkinsQLambda

__all__ = [
    "TD0",
    "TD1",
    "Batch",
    "Bootstrap",
    "Munchausen",
    "Retrace",
    "SoftTD0",
    "TDLambda",
    "ValueEstimator",
    "ValueEstimators",
    "Values",
    "WatkinsQLambda",
]
