"""Losses and target updates."""

from qframe.objectives.batch import BatchKeys
from qframe.objectives.distributional import DistributionalDQNLoss
from qframe.objectives.dqn import DQNLoss
from qframe.objectives.dqv import DQVLoss, dqv_loss
from qframe.objectives.q_learning import Noise, dqn_loss, dqn_target
from qframe.objectives.target_updates import HardUpdate, NoUpdate, SoftUpdate

__all__ = [
    "BatchKeys", "DQNLoss", "DQVLoss", "DistributionalDQNLoss", "HardUpdate", "NoUpdate", "Noise", "SoftUpdate",
    "dqn_loss", "dqn_target", "dqv_loss",
]
