"""The transform h of returns that lets one network learn rewards of any scale, and its inverse."""

from collections.abc import Callable
from typing import NamedTuple

from torch import Tensor

EPSILON = 1e-3
"""The slope ε of the linear part, as in "Recurrent Experience Replay in Distributed RL", Kapturowski et al., 2019."""


def h(value: Tensor, epsilon: float = EPSILON) -> Tensor:
    """``h(x) = sign(x) · (√(|x| + 1) − 1) + ε·x``: a root with a linear part, so that it has an inverse.

    See "Observe and Look Further: Achieving Consistent Performance on Atari", Pohlen et al., 2018, section 3.2.

    Args:
        value: returns, any shape.
        epsilon: ε > 0.

    >>> import torch
    >>> h(torch.tensor([0.0, 3.0, -8.0]), epsilon=0.01)
    tensor([ 0.0000,  1.0300, -2.0800])
    """
    # The root minus one, times the sign, without the cancellation near 0.
    return value / ((value.abs() + 1).sqrt() + 1) + epsilon * value


def h_inverse(value: Tensor, epsilon: float = EPSILON) -> Tensor:
    """``h⁻¹(x) = sign(x) · (u² − 1)`` with ``u = (√(1 + 4ε·(|x| + 1 + ε)) − 1) / 2ε``.

    See "Observe and Look Further: Achieving Consistent Performance on Atari", Pohlen et al., 2018, proposition A.2.

    Args:
        value: transformed returns, any shape.
        epsilon: ε > 0, that of ``h``.

    >>> import torch
    >>> h_inverse(torch.tensor([0.0, 1.03, -2.08]), epsilon=0.01).round(decimals=3).tolist()
    [0.0, 3.0, -8.0]
    """
    # u solves εu² + u = |x| + 1 + ε, so (u − 1)·(1 + ε·(u + 1)) = |x|: no differences of near numbers.
    size = value.abs() + 1 + epsilon
    above = 2 * size / ((1 + 4 * epsilon * size).sqrt() + 1) + 1  # u + 1
    return value * above / (1 + epsilon * above)


class Transform(NamedTuple):
    """A transform of returns and its inverse."""

    forward: Callable[[Tensor], Tensor]
    inverse: Callable[[Tensor], Tensor]


TRANSFORMS: dict[str, Transform | None] = {"none": None, "h": Transform(h, h_inverse)}
"""The transforms of returns that a head may learn, by name."""
