"""What tells a compiler how to divide the work; eager, nothing comes of it."""

from torch import Tensor


def stored(x: Tensor) -> Tensor:
    """The same numbers, which a compiler keeps in memory in place of computing them anew for every use.

    >>> import torch
    >>> stored(torch.tensor([1.0, 2.0]))
    tensor([1., 2.])
    """
    x = x.contiguous()
    return x.as_strided(x.shape, x.stride())
