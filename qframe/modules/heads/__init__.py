"""Q-value heads, one file each: the last layer of a network and the meaning of its outputs."""

from qframe.modules.heads.base import Head, Prediction
from qframe.modules.heads.categorical import CategoricalHead
from qframe.modules.heads.quantile import QuantileHead
from qframe.modules.heads.scalar import ScalarHead

__all__ = ["CategoricalHead", "Head", "Prediction", "QuantileHead", "ScalarHead"]
