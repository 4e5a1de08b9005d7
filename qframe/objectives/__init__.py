"""Losses, value estimators and target updates."""

from qframe.objectives.batch import Batch, BatchKeys
from qframe.objectives.distributional import DistributionalDQNLoss
from qframe.objectives.dqn import DQNLoss
from qframe.objectives.estimators import TD0, TD1, Bootstrap, TDLambda, ValueEstimator, ValueEstimators, Values
from qframe.objectives.q_learning import Noise, dqn_loss, dqn_target
from qframe.objectives.targets import HardUpdate, NoUpdate, SoftUpdate

__all__ = [
    "TD0", "TD1", "Batch", "BatchKeys", "Bootstrap", "DQNLoss", "DistributionalDQNLoss", "HardUpdate", "NoUpdate",
    "Noise", "SoftUpdate", "TDLambda", "ValueEstimator", "ValueEstimators", "Values", "dqn_loss", "dqn_target",
]
