"""Specs: the domains of actions, observations and values. Every spec by name, and their older names as aliases."""

from qframe.data.specs_base import DiscreteSpec, TensorSpec
from qframe.data.specs_box import Bounded, Unbounded
from qframe.data.specs_composite import Composite
from qframe.data.specs_discrete import Binary, Categorical, OneHot
from qframe.data.specs_joint import MultiCategorical, MultiOneHot
from qframe.data.specs_layout import ActionLayout, canonical_name, find_action_space, leaf_spec, num_actions

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
