"""What compiled code needs: hints about how to divide the work, and where a tensor's numbers may be looked at."""

import torch
from torch import Tensor


def stored(x: Tensor) -> Tensor:
    """The same numbers, which a compiler stores instead of computing them again for every use.

    >>> import torch
    >>> stored(torch.tensor([1.0, 2.0]))
    tensor([1., 2.])
    """
    x = x.contiguous()
    return x.as_strided(x.shape, x.stride())


def is_readable(x: Tensor) -> bool:
    """Whether Python may look at the numbers of ``x``: not while compiling, nor within ``vmap`` or ``torch.func.grad``.

    >>> is_readable(torch.ones(2)), is_readable(torch.ones(2, device="meta"))
    (True, False)
    """
    in_transform = torch._C._functorch.peek_interpreter_stack() is not None  # pyright: ignore[reportAttributeAccessIssue]
    return not (torch.compiler.is_compiling() or x.is_meta or in_transform)
