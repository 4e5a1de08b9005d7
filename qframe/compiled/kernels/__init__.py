"""Matrix products and convolutions for compiled updates; without this folder everything works, but slower."""

from collections.abc import Callable
from typing import Any

import torch

from qframe.compiled.kernels import convolution, product

PRODUCTS: dict[Any, Callable[..., Any]] = {
    torch.ops.aten.mm.default: product.product,
    torch.ops.aten.addmm.default: product.product_and_bias,
    torch.ops.aten.convolution.default: convolution.convolution,
    torch.ops.aten.convolution_backward.default: convolution.convolution_backward,
}
"""The functions that replace matrix products and convolutions when a graph is traced."""
