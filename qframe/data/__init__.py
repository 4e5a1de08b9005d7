"""Specs of actions and observations, the encoding of actions, and replay."""

from qframe.data.action_space import ActionSpace, EnumeratedActionSpace, JointActionSpace
from qframe.data.gymnasium_actions import make_action_space
from qframe.data.replay import (
    PrioritizedReplayBuffer,
    PrioritizedSliceReplayBuffer,
    ReplayBuffer,
    SliceReplayBuffer,
)
from qframe.data.specs import (
    Binary,
    BinaryDiscreteTensorSpec,
    Bounded,
    BoundedTensorSpec,
    Categorical,
    Composite,
    CompositeSpec,
    DiscreteSpec,
    DiscreteTensorSpec,
    MultiCategorical,
    MultiDiscreteTensorSpec,
    MultiOneHot,
    MultiOneHotDiscreteTensorSpec,
    OneHot,
    OneHotDiscreteTensorSpec,
    TensorSpec,
    Unbounded,
    UnboundedContinuousTensorSpec,
)

__all__ = [
    "ActionSpace",
    "Binary",
    "BinaryDiscreteTensorSpec",
    "Bounded",
    "BoundedTensorSpec",
    "Categorical",
    "Composite",
    "CompositeSpec",
    "DiscreteSpec",
    "DiscreteTensorSpec",
    "EnumeratedActionSpace",
    "JointActionSpace",
    "MultiCategorical",
    "MultiDiscreteTensorSpec",
    "MultiOneHot",
    "MultiOneHotDiscreteTensorSpec",
    "OneHot",
    "OneHotDiscreteTensorSpec",
    "PrioritizedReplayBuffer",
    "PrioritizedSliceReplayBuffer",
    "ReplayBuffer",
    "SliceReplayBuffer",
    "TensorSpec",
    "Unbounded",
    "UnboundedContinuousTensorSpec",
    "make_action_space",
]
