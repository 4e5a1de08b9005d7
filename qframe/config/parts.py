"""The parts of a run, as far as they are built before it exists."""

from typing import Any, NamedTuple

from qframe.actions import ActionSpace
from qframe.envs import Envs
from qframe.objectives import DQNLoss


class Parts(NamedTuple):
    """The parts that are built before a run exists."""

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
