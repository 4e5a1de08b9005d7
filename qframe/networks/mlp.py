"""Multilayer perceptrons of configurable layers."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import pairwise
from math import prod
from typing import Any

import torch
from torch import Tensor, nn


class MLP(nn.Sequential):
    """Linear layers with activations between them, ``[*B, in]`` → ``[*B, out]``.

    Args:
        in_features: size of the inputs; None infers it from the first call, for plain ``nn.Linear`` layers only.
        out_features: size of the outputs; a sequence is their shape, such as ``(N, A)`` for distributional values.
        num_cells: sizes of the hidden layers, or one int, the size of each of ``depth`` layers.
        depth: number of hidden layers; by default 2, or as many as ``num_cells`` lists.
        activation_class: built for every layer.
        activation_kwargs: its arguments.
        norm_class: built for every hidden layer, before its activation; None: no normalisation.
        norm_kwargs: its arguments.
        dropout: probability of an element to be zeroed after each hidden layer's linear one.
        activate_last_layer: put an activation after the last layer too.
        layer_class: ``(in, out, bias=, device=, dtype=)`` → layer, such as ``NoisyLinear``.
        layer_kwargs: its further arguments.
        bias: whether layers have a bias.
        bias_last_layer: whether the last layer has one; None: like the others.
        single_bias_last_layer: one bias for all outputs in place of one each.
        device: of the parameters.
        dtype: of the parameters.

    Raises:
        ValueError: sizes below 1, a depth that disagrees with ``num_cells``, or layers that cannot infer their size.

    >>> MLP(4, 2, num_cells=[16])
    MLP(
      (0): Linear(in_features=4, out_features=16, bias=True)
      (1): ReLU()
      (2): Linear(in_features=16, out_features=2, bias=True)
    )
    >>> MLP(4, (51, 2), num_cells=8, depth=1)(torch.zeros(3, 4)).shape
    torch.Size([3, 51, 2])
    """

    def __init__(
        self,
        in_features: int | None,
        out_features: int | Sequence[int],
        num_cells: int | Sequence[int] = 64,
        depth: int | None = None,
        *,
        activation_class: Callable[..., nn.Module] = nn.ReLU,
        activation_kwargs: Mapping[str, Any] | None = None,
        norm_class: Callable[..., nn.Module] | None = None,
        norm_kwargs: Mapping[str, Any] | None = None,
        dropout: float = 0.0,
        activate_last_layer: bool = False,
        layer_class: Callable[..., nn.Module] = nn.Linear,
        layer_kwargs: Mapping[str, Any] | None = None,
        bias: bool = True,
        bias_last_layer: bool | None = None,
        single_bias_last_layer: bool = False,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        out_shape = None if isinstance(out_features, int) else tuple(out_features)
        width = out_features if isinstance(out_features, int) else prod(out_features)
        hidden = hidden_sizes(num_cells, depth)
        known = [*(() if in_features is None else (in_features,)), *hidden, width]
        if min(known) < 1:
            raise ValueError(f"expected every layer to have at least 1 feature, got the sizes {known}")
        linear = partial(layer_class, device=device, dtype=dtype, **(layer_kwargs or {}))
        layers: list[nn.Module] = []
        for size_in, size_out in pairwise([in_features, *hidden]):
            layers.append(_sized(linear, size_in)(size_out, bias=bias))
            layers += [nn.Dropout(dropout)] if dropout else []
            layers += [norm_class(**(norm_kwargs or {}))] if norm_class is not None else []
            layers.append(activation_class(**(activation_kwargs or {})))
        last_has_bias = (bias if bias_last_layer is None else bias_last_layer) and not single_bias_last_layer
        layers.append(_sized(linear, [in_features, *hidden][-1])(width, bias=last_has_bias))
        layers += [_SingleBias(device=device, dtype=dtype)] if single_bias_last_layer else []
        layers += [activation_class(**(activation_kwargs or {}))] if activate_last_layer else []
        super().__init__(*layers)
        self.in_features, self.out_features = in_features, width
        self.out_shape = out_shape

    def forward(self, input: Tensor, *others: Tensor) -> Tensor:
        """Further inputs are joined to the first along the last dimension."""
        output = super().forward(torch.cat([input, *others], -1) if others else input)
        return output if self.out_shape is None else output.unflatten(-1, self.out_shape)


def hidden_sizes(num_cells: int | Sequence[int], depth: int | None) -> list[int]:
    """The sizes of the hidden layers.

    Raises:
        ValueError: the depth disagrees with the list, or is negative.

    >>> hidden_sizes(64, None), hidden_sizes(8, 3), hidden_sizes([32, 16], None)
    ([64, 64], [8, 8, 8], [32, 16])
    """
    if isinstance(num_cells, int):
        depth = 2 if depth is None else depth
        if depth < 0:
            raise ValueError(f"expected depth ≥ 0, got {depth}")
        return [num_cells] * depth
    if depth is not None and depth != len(num_cells):
        raise ValueError(f"expected depth to be the length of num_cells = {list(num_cells)}, got {depth}")
    return list(num_cells)


class _SingleBias(nn.Module):
    """One learnt number added to all outputs."""

    def __init__(self, **options: Any) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(1, **options))

    def forward(self, output: Tensor) -> Tensor:
        return output + self.bias


def _sized(linear: "partial[nn.Module]", size_in: int | None) -> Callable[..., nn.Module]:
    """A builder of layers that take ``size_in`` features; None: the number in their first input."""
    if size_in is not None:
        return partial(linear, size_in)
    if linear.func is not nn.Linear:
        raise ValueError(f"layers of {linear.func} need in_features; only nn.Linear can infer it")
    return partial(nn.LazyLinear, **linear.keywords)
