"""Action spaces: their specs, how actions are encoded, and the greedy choice among them."""

from qframe.actions.action_space import ActionSpace, EnumeratedActionSpace, JointActionSpace
from qframe.actions.gymnasium_spaces import make_action_space
from qframe.actions.specs import (
    BinaryDiscreteTensorSpec,
    BoundedTensorSpec,
    CompositeSpec,
    DiscreteTensorSpec,
    MultiDiscreteTensorSpec,
    MultiOneHotDiscreteTensorSpec,
    OneHotDiscreteTensorSpec,
    UnboundedContinuousTensorSpec,
)
from qframe.actions.specs.base import DiscreteSpec, TensorSpec
from qframe.actions.specs.box import Bounded, Unbounded
from qframe.actions.specs.composite import Composite
from qframe.actions.specs.discrete import Binary, Categorical, OneHot
from qframe.actions.specs.joint import MultiCategorical, MultiOneHot

__all__ = [
    "ActionSpace", "Binary", "BinaryDiscreteTensorSpec", "Bounded", "BoundedTensorSpec", "Categorical", "Composite",
    "CompositeSpec", "DiscreteSpec", "DiscreteTensorSpec", "EnumeratedActionSpace", "JointActionSpace",
    "MultiCategorical", "MultiDiscreteTensorSpec", "MultiOneHot", "MultiOneHotDiscreteTensorSpec", "OneHot",
    "OneHotDiscreteTensorSpec", "TensorSpec", "Unbounded", "UnboundedContinuousTensorSpec", "make_action_space",
]
