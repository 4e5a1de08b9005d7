"""Replay: what the agent has seen, kept for learning."""

from qframe.data.replay.buffer import ReplayBuffer
from qframe.data.replay.frames import FrameReplayBuffer
from qframe.data.replay.n_step import NStepFold
from qframe.data.replay.prioritized import PrioritizedReplayBuffer
from qframe.data.replay.prioritized_frames import PrioritizedFrameReplayBuffer
from qframe.data.replay.prioritized_slices import PrioritizedSliceReplayBuffer
from qframe.data.replay.slices import SliceReplayBuffer
from qframe.data.replay.sum_tree import SumTree

__all__ = [
    "FrameReplayBuffer", "NStepFold", "PrioritizedFrameReplayBuffer", "PrioritizedReplayBuffer",
    "PrioritizedSliceReplayBuffer", "ReplayBuffer", "SliceReplayBuffer", "SumTree",
]
