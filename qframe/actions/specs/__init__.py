"""Specs: the domains of actions, observations and values. Every spec by name, and their older names as aliases."""

from qframe.actions.specs.base import DiscreteSpec, TensorSpec
from qframe.actions.specs.box import Bounded, Unbounded
from qframe.actions.specs.composite import Composite
from qframe.actions.specs.discrete import Binary, Categorical, OneHot
from qframe.actions.specs.joint import MultiCategorical, MultiOneHot
from qframe.actions.specs.layout import ActionLayout, canonical_name, find_action_space, leaf_spec, num_actions

DiscreteTensorSpec = Categorical
OneHotDiscreteTensorSpec = OneHot
MultiDiscreteTensorSpec = MultiCategorical
MultiOneHotDiscreteTensorSpec = MultiOneHot
BinaryDiscreteTensorSpec = Binary
BoundedTensorSpec = Bounded
UnboundedContinuousTensorSpec = Unbounded
CompositeSpec = Composite

__all__ = [
    "ActionLayout", "Binary", "BinaryDiscreteTensorSpec", "Bounded", "BoundedTensorSpec", "Categorical", "Composite",
    "CompositeSpec", "DiscreteSpec", "DiscreteTensorSpec", "MultiCategorical", "MultiDiscreteTensorSpec", "MultiOneHot",
    "MultiOneHotDiscreteTensorSpec", "OneHot", "OneHotDiscreteTensorSpec", "TensorSpec", "Unbounded",
    "UnboundedContinuousTensorSpec", "canonical_name", "find_action_space", "leaf_spec", "num_actions",
]
