"""Replay: three layouts of stored steps, each with or without priorities, and rollouts, which replace replay.

``ReplayBuffer`` stores transitions whole, ``FrameReplayBuffer`` stores every frame of a stack once, and
``SliceReplayBuffer`` draws consecutive steps; ``RolloutBuffer`` serves the latest steps in passes and forgets them.
``ProportionalPriorities``, given to any of the three, decides how often a row is drawn and computes its importance
weight; without it all rows are equally likely.
"""

from qframe.replay.frames import FrameReplayBuffer
from qframe.replay.n_step import NStepFold
from qframe.replay.priorities import ProportionalPriorities, no_priorities
from qframe.replay.protocol import Priorities, Replay
from qframe.replay.rollout import RolloutBuffer
from qframe.replay.slices import SliceReplayBuffer
from qframe.replay.sum_tree import SumTree
from qframe.replay.transitions import ReplayBuffer

__all__ = [
    "FrameReplayBuffer", "NStepFold", "Priorities", "ProportionalPriorities", "Replay", "ReplayBuffer",
    "RolloutBuffer", "SliceReplayBuffer", "SumTree", "no_priorities",
]
