"""Normalisation of observations by the mean and variance of those collected so far."""

from collections.abc import Sequence
from typing import Any

import torch
from tensordict import TensorDictBase
from torch import Tensor, nn

from qframe.networks.trunks import Trunk

EPSILON = 1e-8
LIMIT = 10.0


class RunningNorm(nn.Module):
    """``clip((x − mean) / √(variance + 1e−8), −10, 10)``, entry by entry, with the statistics of the collected entries.

    See "Note on a Method for Calculating Corrected Sums of Squares and Products", Welford, 1962, and "Updating Formulae
    and a Pairwise Algorithm for Computing Sample Variances", Chan et al., 1979, for merging batches. They are float64
    buffers, which checkpoints and target updates include.

    Args:
        shape: of one entry.
        limit: bound of a normalised entry.

    >>> norm = RunningNorm((1,))
    >>> norm.update(torch.tensor([[1.0], [3.0]]))
    >>> norm(torch.tensor([[3.0], [100.0]]))
    tensor([[ 1.],
            [10.]])
    """

    def __init__(self, shape: Sequence[int], *, limit: float = LIMIT) -> None:
        super().__init__()
        self._limit = limit
        self.mean: Tensor
        self.variance: Tensor
        self.count: Tensor
        self.register_buffer("mean", torch.zeros(tuple(shape), dtype=torch.float64))
        self.register_buffer("variance", torch.ones(tuple(shape), dtype=torch.float64))
        self.register_buffer("count", torch.zeros((), dtype=torch.float64))

    @torch.no_grad()
    def update(self, entry: Tensor) -> None:
        """Add a batch ``[E, *shape]`` to the statistics."""
        entry = entry.double()
        size, mean = len(entry), entry.mean(0)
        total = self.count + size
        share, delta = size / total, mean - self.mean
        spread = (1 - share) * self.variance + share * entry.var(0, correction=0)
        self.variance.copy_(spread + share * (1 - share) * delta.square())
        self.mean.add_(share * delta)
        self.count.copy_(total)

    def forward(self, entry: Tensor) -> Tensor:
        dtype = entry.dtype if entry.is_floating_point() else torch.get_default_dtype()
        scale = (self.variance + EPSILON).rsqrt().to(dtype)
        return ((entry.to(dtype) - self.mean.to(dtype)) * scale).clamp(-self._limit, self._limit)


class NormalizedTrunk(Trunk):
    """A trunk whose observations are normalised, all entries but images, bits and choices.

    Only ``update_statistics`` changes the statistics. The collector calls it; evaluation and updates do not.

    Args:
        trunk: its ``shapes`` are the entries to normalise.

    Raises:
        ValueError: the observation has no such entries.
    """

    def __init__(self, trunk: Trunk) -> None:
        super().__init__()
        if not trunk.shapes:
            raise ValueError(
                f"normalize_observation=true does not apply to {type(trunk).__name__}: its observations have no "
                "numbers to normalise (images are always scaled to [0, 1]); set it to false"
            )
        self.trunk, self.shapes, self.num_features = trunk, trunk.shapes, trunk.num_features
        self.norms = nn.ModuleList(RunningNorm(shape) for shape in trunk.shapes.values())

    def update_statistics(self, observation: Tensor | TensorDictBase) -> None:
        """Add collected observations ``[E, …]`` to the statistics."""
        for path, norm in zip(self.shapes, self.norms, strict=True):
            norm.update(observation.get(path) if path else observation)  # pyright: ignore

    def forward(self, observation: Any) -> Tensor:
        if () in self.shapes:
            return self.trunk(self.norms[0](observation))
        normalized = observation.copy()
        for path, norm in zip(self.shapes, self.norms, strict=True):
            normalized.set(path, norm(observation.get(path)))
        return self.trunk(normalized)
