"""The matrix product of compiled updates: the numbers of any other, equal bits for equal rows, and where it is used."""

import ctypes
from itertools import product as every

import pytest
import torch
from torch import Tensor

from qframe.compiled import library as native
from qframe.compiled.kernels import product
from qframe.compiled.kernels.product import native_product
from qframe.machine.native_code import CACHE_VARIABLE

needs_avx512 = pytest.mark.skipif(
    torch.backends.cpu.get_cpu_capability() != "AVX512", reason="native products need a processor with AVX-512"
)


def call(left: Tensor, right: Tensor) -> Tensor:
    functions = native_product()
    assert functions is not None
    rows, columns, depth = len(left), right.shape[1], len(right)
    result, scratch = torch.full((rows + 1, columns), 7.0), torch.empty(48 * depth)
    numbers = [ctypes.c_int64(number) for number in (*left.stride(), *right.stride(), rows, columns, depth)]
    a, b, spare, out = (ctypes.c_void_p(tensor.data_ptr()) for tensor in (left, right, scratch, result))
    functions.qframe_product(a, *numbers[:2], b, *numbers[2:4], spare, out, *numbers[4:])
    assert (result[rows] == 7.0).all()  # nothing is written behind it
    return result[:rows]


def random(rows: int, columns: int, *, is_transposed: bool) -> Tensor:
    generator = torch.Generator().manual_seed(rows * 1_000 + columns)
    shape = (columns, rows) if is_transposed else (rows, columns)
    values = torch.randn(shape, generator=generator)
    return values.t() if is_transposed else values


@needs_avx512
def test_a_product_of_literal_numbers():
    left, right = torch.tensor([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]), torch.tensor([[1.0, 10.0], [100.0, 1000.0]])
    assert call(left, right).tolist() == [[201.0, 2010.0], [403.0, 4030.0], [605.0, 6050.0]]


@needs_avx512
@pytest.mark.parametrize("columns", [1, 15, 16, 17, 31, 33, 47, 48, 49, 84, 120])
@pytest.mark.parametrize("rows", [1, 3, 4, 7, 8, 13, 32])
def test_products_of_every_shape_and_stride_are_those_of_64_bits(rows, columns):
    for depth, transposed in every((1, 5, 64), every((False, True), repeat=2)):
        left = random(rows, depth, is_transposed=transposed[0])
        right = random(depth, columns, is_transposed=transposed[1])
        torch.testing.assert_close(call(left, right).double(), left.double() @ right.double(), rtol=1e-5, atol=2e-5)


@needs_avx512
@pytest.mark.parametrize("depth", [2048, 2049, 5000])
@pytest.mark.parametrize("is_transposed", [False, True])
def test_deep_products_go_on_from_one_part_to_the_next(depth, is_transposed):
    left, right = random(9, depth, is_transposed=False), random(depth, 50, is_transposed=is_transposed)
    torch.testing.assert_close(call(left, right).double(), left.double() @ right.double(), rtol=1e-4, atol=1e-4)
    whole = torch.cat([torch.ones(1, 3), torch.zeros(1, depth - 3)], 1)
    assert torch.equal(call(whole, right), (right[0] + right[1] + right[2])[None])


@needs_avx512
def test_a_row_has_the_same_bits_in_any_batch_and_layout():
    left, right = random(29, 77, is_transposed=False), random(77, 50, is_transposed=False)
    whole = call(left, right)
    assert torch.equal(call(left[5:6], right), whole[5:6])
    assert torch.equal(call(left.t().contiguous().t(), right.t().contiguous().t()), whole)
    assert torch.equal(call(left, right[:, 3:20]), whole[:, 3:20])


@needs_avx512
def test_what_is_not_finite_stays_where_it_is():
    left = torch.tensor([[1.0, float("inf")], [float("nan"), 0.0], [1.0, 1.0]])
    result = call(left, torch.ones(2, 17))
    assert result[0].isinf().all()
    assert result[1].isnan().all()
    assert (result[2] == 2.0).all()


def layer(x: Tensor, weight: Tensor, bias: Tensor) -> list[Tensor]:
    """A layer's outputs and the gradients of its weights and inputs, for outputs that are their own gradient."""
    out = torch.addmm(bias, x, weight.t())
    return [out, out.t() @ x, out @ weight]


@needs_avx512
def test_a_compiled_layer_computes_by_it_what_the_layer_does(tmp_path, monkeypatch):
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path))
    inputs = [torch.randn(13, 40), torch.randn(21, 40), torch.randn(21)]
    graph, _ = native.trace(layer, inputs)
    assert graph.code.count("torch.ops.qframe.product") == 3
    for got, expected in zip(native.NativeFunction(layer, inputs)(inputs), layer(*inputs), strict=True):
        torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-3)


@pytest.mark.parametrize("change", ["two threads", "64 bits", "no native code"])
def test_elsewhere_products_stay_torchs_own(change, monkeypatch):
    kind = torch.float64 if change == "64 bits" else torch.float32
    inputs = [torch.randn(13, 40, dtype=kind), torch.randn(21, 40, dtype=kind), torch.randn(21, dtype=kind)]
    if change == "two threads":
        monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    if change == "no native code":
        monkeypatch.setattr(product, "native_product", lambda: None)
    graph, _ = native.trace(layer, inputs)
    assert "torch.ops.qframe.product" not in graph.code
    assert "torch.ops.aten.addmm" in graph.code
    for got, expected in zip(graph(*inputs), layer(*inputs), strict=True):
        torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-3)


def test_a_tall_gradient_of_weights_is_else_the_transpose_of_a_wide_product(monkeypatch):
    monkeypatch.setattr(product, "native_product", lambda: None)
    gradient, x = torch.arange(12.0).view(2, 6), torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    for left, right, shape in ((gradient, x, [2, 6]), (x, gradient, [2, 6]), (gradient, gradient, [6, 6])):
        graph, _ = native.trace(lambda a, b: a.t() @ b, [left, right])
        assert [list(node.meta["val"].shape) for node in graph.graph.nodes if "mm" in node.name] == [shape]
        assert torch.equal(graph(left, right)[0], left.t() @ right)
