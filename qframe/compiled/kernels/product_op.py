"""``torch.ops.qframe.product`` and ``patches_product``, the products of compiled updates: how they are traced, and
their names in C.

Imports only torch, so that the compiling process need not import qframe. ``product.cpp`` computes them.
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

DECLARATIONS = {
    "product": (
        "AOTITorchError aoti_torch_cpu_product("
        "AtenTensorHandle left, AtenTensorHandle right, AtenTensorHandle* result)"
    ),
    "patches_product": (
        "AOTITorchError aoti_torch_cpu_patches_product("
        "AtenTensorHandle images, AtenTensorHandle right, int64_t height, int64_t width, int64_t stride, "
        "int64_t transposed, AtenTensorHandle* result)"
    ),
}
"""The functions of ``product.cpp`` by operator."""


def define() -> None:
    """Register the operators with torch, once per process."""
    if hasattr(torch.ops.qframe, "product"):
        return
    _define("product", "(Tensor left, Tensor right) -> Tensor", torch.mm, _shape)
    geometry = "int height, int width, int stride, int transposed"
    _define("patches_product", f"(Tensor images, Tensor right, {geometry}) -> Tensor", patches_product, _patches_shape)


def patches_product(images: Tensor, right: Tensor, height: int, width: int, stride: int, transposed: int) -> Tensor:
    """Patches of ``[B, C, H, W]``, ``[B · H' · W', C · height · width]``, or the transpose of that, times ``right``."""
    patches = functional.unfold(images, (height, width), stride=stride).transpose(1, 2).flatten(0, 1)
    return (patches.t() if transposed else patches) @ right


def _define(name: str, schema: str, on_cpu: Callable[..., Tensor], shape: Callable[..., Tensor]) -> None:
    torch.library.define(f"qframe::{name}", schema)
    torch.library.impl(f"qframe::{name}", "CPU")(on_cpu)
    torch.library.register_fake(f"qframe::{name}")(shape)


def _shape(left: Tensor, right: Tensor) -> Tensor:
    return left.new_empty(left.shape[0], right.shape[1])


def _patches_shape(images: Tensor, right: Tensor, height: int, width: int, stride: int, transposed: int) -> Tensor:
    batch, channels, down, across = images.shape
    patches = batch * ((down - height) // stride + 1) * ((across - width) // stride + 1)
    return images.new_empty(channels * height * width if transposed else patches, right.shape[1])
