"""Distributions of continuous actions, and the layer that computes their parameters."""

import math

import torch
from torch import Tensor, distributions, nn
from torch.nn.functional import softplus


class TanhNormal(distributions.TransformedDistribution):
    """A normal distribution squashed by tanh into ``(low, high)``, independent over the last dimension.

    See "Soft Actor-Critic", Haarnoja et al., 2018, appendix C.

    Args:
        loc: mean before squashing, ``[*B, D]``.
        scale: standard deviation before squashing, > 0, ``[*B, D]``.
        low: lower end of the interval, one number or one for each entry ``[D]``.
        high: upper end.

    Raises:
        ValueError: ``low`` is not below ``high`` everywhere.

    >>> policy = TanhNormal(torch.zeros(3, 2), torch.ones(3, 2), low=0.0, high=1.0)
    >>> policy.deterministic_sample[0], policy.log_prob(policy.deterministic_sample).shape
    (tensor([0.5000, 0.5000]), torch.Size([3]))
    """

    arg_constraints = {}  # noqa: RUF012 - torch's own declaration

    def __init__(self, loc: Tensor, scale: Tensor, *, low: float | Tensor = -1.0, high: float | Tensor = 1.0) -> None:
        is_ordered = low < high
        if not (is_ordered.all() if isinstance(is_ordered, Tensor) else is_ordered):
            raise ValueError(f"expected low < high, got low = {low} and high = {high}")
        low, high = (torch.as_tensor(bound, dtype=loc.dtype, device=loc.device) for bound in (low, high))
        normal = distributions.Normal(loc, scale, validate_args=False)
        transforms = [distributions.TanhTransform(), distributions.AffineTransform((low + high) / 2, (high - low) / 2)]
        super().__init__(distributions.Independent(normal, 1, validate_args=False), transforms, validate_args=False)
        self.loc = loc
        self.low, self.high = low, high

    @property
    def deterministic_sample(self) -> Tensor:
        """The squashed mean, which is the median, ``[*B, D]``."""
        return self.low + (self.high - self.low) * (self.loc.tanh() + 1) / 2

    @property
    def mode(self) -> Tensor:
        """The squashed mean, the action without exploration, ``[*B, D]``."""
        return self.deterministic_sample

    def log_prob(self, value: Tensor) -> Tensor:
        """The log-density ``[*B]``; an action at an end of the interval counts as the nearest number inside."""
        margin = torch.finfo(value.dtype).eps * (self.high - self.low)
        return super().log_prob(value.clamp(self.low + margin, self.high - margin))


class NormalParamExtractor(nn.Module):
    """Splits features ``[*B, 2·D]`` into the location ``[*B, D]`` and the positive scale ``[*B, D]`` of a normal.

    The scale is ``max(softplus(x + log(e^.99 − 1)) + .01, scale_min)``: 1 at x = 0, and above .01.

    Args:
        scale_min: smallest scale.

    Raises:
        ValueError: an odd number of features.

    >>> NormalParamExtractor()(torch.zeros(4))
    (tensor([0., 0.]), tensor([1., 1.]))
    """

    def __init__(self, scale_min: float = 1e-4) -> None:
        super().__init__()
        self.scale_min = scale_min

    def forward(self, features: Tensor, *others: Tensor) -> tuple[Tensor, ...]:
        """Location and scale, then the further arguments unchanged."""
        if features.shape[-1] % 2:
            raise ValueError(f"expected an even number of features (location and scale), got {features.shape[-1]}")
        loc, scale = features.chunk(2, -1)
        return (loc, (softplus(scale + _SCALE_ONE) + _SCALE_FLOOR).clamp(min=self.scale_min), *others)


_SCALE_FLOOR = 0.01
_SCALE_ONE = math.log(math.expm1(1 - _SCALE_FLOOR))  # so that the scale is 1 at 0
