"""The parts of a run."""

from typing import Any, NamedTuple

from qframe.actions import ActionSpace
from qframe.envs import Envs
from qframe.objectives import DQNLoss


class Parts(NamedTuple):
    """The parts of a config that are built before a run has a folder."""

    envs: Envs
    action_space: ActionSpace
    loss: DQNLoss
    target_update: Any
    replay: Any
    exploration: Any
    reward: Any
    optimizer: Any
    evaluation: Any
    checkpoints: Any
    logger: Any
