"""Hints to the compiler about how to divide the work; they have no effect in eager mode."""

from torch import Tensor


def stored(x: Tensor) -> Tensor:
    """The same numbers, which a compiler stores instead of computing them again for every use.

    >>> import torch
    >>> stored(torch.tensor([1.0, 2.0]))
    tensor([1., 2.])
    """
    x = x.contiguous()
    return x.as_strided(x.shape, x.stride())
