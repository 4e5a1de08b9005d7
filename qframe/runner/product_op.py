"""``torch.ops.qframe.product``, the matrix product of compiled updates: how it is traced, and what it is called in C.

Imports torch alone, so that the process that compiles need not import qframe. The product itself is in ``product.cpp``.
"""

import torch
from torch import Tensor

DECLARATION = (
    "AOTITorchError aoti_torch_cpu_product("
    "AtenTensorHandle left, AtenTensorHandle right, AtenTensorHandle* result)"
)


def define() -> None:
    """Make the operator known to torch, once in a process."""
    if hasattr(torch.ops.qframe, "product"):
        return
    torch.library.define("qframe::product", "(Tensor left, Tensor right) -> Tensor")
    torch.library.impl("qframe::product", "CPU")(torch.mm)
    torch.library.register_fake("qframe::product")(_shaped)


def _shaped(left: Tensor, right: Tensor) -> Tensor:
    return left.new_empty(left.shape[0], right.shape[1])
