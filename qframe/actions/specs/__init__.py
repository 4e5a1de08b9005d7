"""TorchRL's specs, the domains of actions, observations and values, under their new and old names."""

from qframe.actions.specs.base import DiscreteSpec, TensorSpec
from qframe.actions.specs.box import Bounded, Unbounded
from qframe.actions.specs.composite import Composite
from qframe.actions.specs.discrete import Binary, Categorical, MultiCategorical, MultiOneHot, OneHot

DiscreteTensorSpec = Categorical
OneHotDiscreteTensorSpec = OneHot
MultiDiscreteTensorSpec = MultiCategorical
MultiOneHotDiscreteTensorSpec = MultiOneHot
BinaryDiscreteTensorSpec = Binary
BoundedTensorSpec = Bounded
UnboundedContinuousTensorSpec = Unbounded
CompositeSpec = Composite

__all__ = [
    "Binary", "BinaryDiscreteTensorSpec", "Bounded", "BoundedTensorSpec", "Categorical", "Composite",
    "CompositeSpec", "DiscreteSpec", "DiscreteTensorSpec", "MultiCategorical", "MultiDiscreteTensorSpec", "MultiOneHot",
    "MultiOneHotDiscreteTensorSpec", "OneHot", "OneHotDiscreteTensorSpec", "TensorSpec", "Unbounded",
    "UnboundedContinuousTensorSpec",
]
