"""Losses, value estimators and target updates."""

from qframe.objectives.distributional import DistributionalDQNLoss
from qframe.objectives.dqn import DQNLoss
from qframe.objectives.dqv import DQVLoss, dqv_loss
from qframe.objectives.estimators import ValueEstimators
from qframe.objectives.estimators_lambda import TD1, Retrace, TDLambda, WatkinsQLambda
from qframe.objectives.estimators_soft import Munchausen, SoftTD0
from qframe.objectives.q_learning import TD0, Batch, Bootstrap, Noise, ValueEstimator, Values, dqn_loss, dqn_target
from qframe.objectives.targets import HardUpdate, NoUpdate, SoftUpdate
from qframe.objectives.value_loss import BatchKeys

__all__ = [
    "TD0", "TD1", "Batch", "BatchKeys", "Bootstrap", "DQNLoss", "DQVLoss", "DistributionalDQNLoss", "HardUpdate",
    "Munchausen", "NoUpdate", "Noise", "Retrace", "SoftTD0", "SoftUpdate", "TDLambda", "ValueEstimator",
    "ValueEstimators", "Values", "WatkinsQLambda", "dqn_loss", "dqn_target", "dqv_loss",
]
