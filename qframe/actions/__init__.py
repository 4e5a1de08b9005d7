"""Action spaces: the encoding, masking and choice of actions and their form in the environment; TorchRL's specs."""

from qframe.actions.action_space import ActionSpace
from qframe.actions.discretized import make_discretized_space
from qframe.actions.from_spec import AnyActionSpace, as_action_space, find_action_space
from qframe.actions.gymnasium_spaces import make_action_space
from qframe.actions.specs import (
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
    "ActionSpace", "AnyActionSpace", "Binary", "BinaryDiscreteTensorSpec", "Bounded", "BoundedTensorSpec",
    "Categorical", "Composite", "CompositeSpec", "DiscreteSpec", "DiscreteTensorSpec", "MultiCategorical",
    "MultiDiscreteTensorSpec", "MultiOneHot", "MultiOneHotDiscreteTensorSpec", "OneHot", "OneHotDiscreteTensorSpec",
    "TensorSpec", "Unbounded", "UnboundedContinuousTensorSpec", "as_action_space", "find_action_space",
    "make_action_space", "make_discretized_space",
]
