"""Replay: what the agent has seen, kept for learning."""

from qframe.replay.frames import FrameReplayBuffer
from qframe.replay.n_step import NStepFold
from qframe.replay.prioritized import PrioritizedReplayBuffer
from qframe.replay.prioritized_frames import PrioritizedFrameReplayBuffer
from qframe.replay.prioritized_slices import PrioritizedSliceReplayBuffer
from qframe.replay.slices import SliceReplayBuffer
from qframe.replay.sum_tree import SumTree
from qframe.replay.transitions import ReplayBuffer

__all__ = [
    "FrameReplayBuffer", "NStepFold", "PrioritizedFrameReplayBuffer", "PrioritizedReplayBuffer",
    "PrioritizedSliceReplayBuffer", "ReplayBuffer", "SliceReplayBuffer", "SumTree",
]
