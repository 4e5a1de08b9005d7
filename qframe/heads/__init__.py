"""Q-value heads, one file each: the last layer of a network and the meaning of its outputs."""

from qframe.heads.base import Head, Prediction
from qframe.heads.categorical import CategoricalHead
from qframe.heads.fully_parameterized_quantile import FullyParameterizedQuantileHead
from qframe.heads.hl_gauss import HLGaussHead
from qframe.heads.implicit_quantile import ImplicitQuantileHead
from qframe.heads.quantile import QuantileHead
from qframe.heads.scalar import ScalarHead

__all__ = [
    "CategoricalHead", "FullyParameterizedQuantileHead", "HLGaussHead", "Head", "ImplicitQuantileHead",
    "Prediction", "QuantileHead", "ScalarHead",
]
