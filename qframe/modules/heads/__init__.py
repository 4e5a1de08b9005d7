"""Q-value heads, one file each: the last layer of a network and the meaning of its outputs."""

from qframe.modules.heads.base import Head, Prediction
from qframe.modules.heads.categorical import CategoricalHead
from qframe.modules.heads.fully_parameterized_quantile import FullyParameterizedQuantileHead
from qframe.modules.heads.hl_gauss import HLGaussHead
from qframe.modules.heads.implicit_quantile import ImplicitQuantileHead
from qframe.modules.heads.quantile import QuantileHead
from qframe.modules.heads.scalar import ScalarHead

__all__ = [
    "CategoricalHead", "FullyParameterizedQuantileHead", "HLGaussHead", "Head", "ImplicitQuantileHead", "Prediction",
    "QuantileHead", "ScalarHead",
]
