"""Convolutions of compiled updates as products of patches: the numbers of torch's own, and where they are used."""

from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from qframe.compiled import library as native
from qframe.compiled.kernels import product
from qframe.compiled.kernels.product_op import patches_product
from qframe.machine.native_code import CACHE_VARIABLE
from tests.compiled.kernels.test_product import needs_avx512


def test_sums_of_patches_in_literal_numbers():
    images = torch.arange(12.0).view(1, 1, 3, 4)
    sums = patches_product(images, torch.ones(4, 1), 2, 2, 1, 0)  # of each of 2 × 3 patches of 2 × 2 pixels
    assert sums.flatten().tolist() == [10.0, 14.0, 18.0, 26.0, 30.0, 34.0]
    sums = patches_product(images, torch.ones(6, 1), 2, 2, 1, 1)  # of what stands at each place in all patches
    assert sums.flatten().tolist() == [18.0, 24.0, 42.0, 48.0]


def layers(images: Tensor, first: Tensor, bias: Tensor, second: Tensor, *, strides: tuple[int, int]) -> list[Tensor]:
    """Two convolutions, and the gradients of a sum in which every output has a weight of its own."""

    def total(first: Tensor, bias: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
        out = functional.conv2d(images, first, bias, stride=strides[0]).relu()
        out = functional.conv2d(out, second, stride=strides[1])
        return (out * torch.linspace(-1.0, 1.0, out.numel(), dtype=out.dtype).view(out.shape)).sum(), out

    gradients, out = torch.func.grad(total, argnums=(0, 1, 2), has_aux=True)(first, bias, second)
    return [out, *gradients]


def random(images: tuple[int, ...], first: tuple[int, ...], second: tuple[int, ...], **options: Any) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    shapes = images, (first[0], images[1], *first[1:]), (first[0],), (second[0], first[0], *second[1:])
    return [torch.randn(shape, generator=generator, **options) for shape in shapes]


CASES = [
    (random((3, 2, 13, 12), (5, 4, 6), (7, 2, 2)), (2, 1)),  # the last row of pixels is in no patch
    (random((32, 4, 10, 10), (16, 3, 3), (49, 2, 3)), (1, 1)),
    (random((2, 4, 42, 42), (16, 6, 6), (32, 4, 4)), (3, 2)),
    (random((7, 1, 25, 25), (3, 2, 2), (1, 1, 1)), (1, 1)),  # 4,032 patches: more than are summed in one go
]


def every_case(*inputs: Tensor) -> list[Tensor]:
    return [out for n, (_, strides) in enumerate(CASES) for out in layers(*inputs[4 * n : 4 * n + 4], strides=strides)]


@needs_avx512
def test_compiled_convolutions_compute_by_it_what_convolutions_do(tmp_path, monkeypatch):
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path))
    inputs = [tensor for tensors, _ in CASES for tensor in tensors]
    inputs[4] = inputs[4].contiguous(memory_format=torch.channels_last)
    graph, _ = native.trace(every_case, inputs)
    calls = graph.code.count("= torch.ops.qframe.patches_product") / len(CASES)
    assert calls == 5  # two forward, two for gradients of weights, one for that of what the second convolution read
    assert "torch.ops.aten.convolution" not in graph.code
    exact = every_case(*(tensor.double() for tensor in inputs))
    for got, expected in zip(native.NativeFunction(every_case, inputs)(inputs), exact, strict=True):
        torch.testing.assert_close(got.double(), expected, rtol=1e-4, atol=1e-4 * float(expected.abs().max()))


@needs_avx512
def test_a_gradient_of_images_whose_pixels_are_in_unlike_numbers_of_patches_stays_torchs_own():
    inputs = random((2, 1, 9, 9), (3, 3, 3), (2, 3, 3), dtype=torch.float32)
    graph, _ = native.trace(partial(layers, strides=(2, 2)), inputs)
    assert graph.code.count("= torch.ops.aten.convolution_backward") == 2
    for got, expected in zip(graph(*inputs), layers(*inputs, strides=(2, 2)), strict=True):
        torch.testing.assert_close(got, expected)


def convolved(images: Tensor, weight: Tensor, **options: Any) -> Tensor:
    return functional.conv2d(images, weight, **options)


@pytest.mark.parametrize(
    "options",
    [{"padding": 1}, {"dilation": 2}, {"groups": 2}, {"stride": (1, 2)}, {"dtype": torch.float64}, {"threads": 2}],
)
def test_elsewhere_convolutions_stay_torchs_own(options, monkeypatch):
    inputs = [torch.randn(2, 4, 9, 9), torch.randn(6, 4 // options.get("groups", 1), 3, 3)]
    dtype, threads = options.get("dtype", torch.float32), options.get("threads", 1)
    inputs = [tensor.to(dtype) for tensor in inputs]
    options = {name: value for name, value in options.items() if name not in ("dtype", "threads")}
    if threads == 2:
        monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    graph, _ = native.trace(partial(convolved, **options), inputs)
    assert "torch.ops.aten.convolution" in graph.code
    assert torch.equal(graph(*inputs)[0], convolved(*inputs, **options))


def test_without_native_code_convolutions_stay_torchs_own(monkeypatch):
    monkeypatch.setattr(product, "native_product", lambda: None)
    graph, _ = native.trace(convolved, [torch.randn(2, 4, 9, 9), torch.randn(6, 4, 3, 3)])
    assert "torch.ops.aten.convolution" in graph.code
