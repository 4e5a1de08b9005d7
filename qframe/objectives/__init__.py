"""Losses, value estimators and target updates."""

from qframe.objectives.distributional import DistributionalDQNLoss
from qframe.objectives.dqn import DQNLoss
from qframe.objectives.estimators import TD1, TDLambda, ValueEstimators
from qframe.objectives.q_learning import TD0, Batch, Bootstrap, Noise, ValueEstimator, Values, dqn_loss, dqn_target
from qframe.objectives.targets import HardUpdate, NoUpdate, SoftUpdate
from qframe.objectives.value_loss import BatchKeys

__all__ = [
    "TD0", "TD1", "Batch", "BatchKeys", "Bootstrap", "DQNLoss", "DistributionalDQNLoss", "HardUpdate", "NoUpdate",
    "Noise", "SoftUpdate", "TDLambda", "ValueEstimator", "ValueEstimators", "Values", "dqn_loss", "dqn_target",
]
