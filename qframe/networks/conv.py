"""Convolutional networks of configurable layers."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn


class ConvNet(nn.Module):
    """Convolutions with activations, ``[*B, C, H, W]`` → features ``[*B, F]``, by default those of the Nature paper.

    See "Human-level control through deep reinforcement learning", Mnih et al., 2015, Methods.

    Args:
        in_channels: C; None infers it from the first call, for plain ``nn.Conv2d`` layers only.
        num_cells: output channels of each layer.
        kernel_sizes: one per layer, or one for all.
        strides: one per layer, or one for all.
        paddings: one per layer, or one for all.
        activation_class: built for every layer, the last included.
        layer_class: ``(in, out, kernel_size, stride=, padding=, device=, dtype=)`` → layer.
        layer_kwargs: its further arguments.
        flatten: False keeps ``[*B, C', H', W']``.
        device: of the parameters.
        dtype: of the parameters.

    Raises:
        ValueError: lists of different lengths, layers that cannot infer C, or an image smaller than the kernels.

    >>> net = ConvNet(4)
    >>> net(torch.zeros(2, 4, 84, 84)).shape, net.out_features(84, 84)
    (torch.Size([2, 3136]), 3136)
    """

    def __init__(
        self,
        in_channels: int | None,
        num_cells: Sequence[int] = (32, 64, 64),
        kernel_sizes: int | Sequence[int] = (8, 4, 3),
        strides: int | Sequence[int] = (4, 2, 1),
        paddings: int | Sequence[int] = 0,
        *,
        activation_class: Callable[..., nn.Module] = nn.ReLU,
        layer_class: Callable[..., nn.Module] = nn.Conv2d,
        layer_kwargs: Mapping[str, Any] | None = None,
        flatten: bool = True,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        depth = len(num_cells)
        named = {"kernel_sizes": kernel_sizes, "strides": strides, "paddings": paddings}
        self.geometry = list(zip(*(_per_layer(name, value, depth) for name, value in named.items()), strict=True))
        options = {"device": device, "dtype": dtype, **(layer_kwargs or {})}
        layers: list[nn.Module] = []
        for size_in, size_out, (kernel, stride, padding) in zip(
            [in_channels, *num_cells], num_cells, self.geometry, strict=False
        ):
            layer = partial(layer_class, size_in) if size_in is not None else _of_any_depth(layer_class)
            layers.append(layer(size_out, kernel, stride=stride, padding=padding, **options))
            layers.append(activation_class())
        self.layers = nn.Sequential(*layers)
        self.out_channels = num_cells[-1] if depth else in_channels or 0
        self.flatten = flatten

    def forward(self, image: Tensor) -> Tensor:
        """Features of every image of the batch."""
        batch = image.shape[:-3]
        features = self.layers(image.reshape(batch.numel(), *image.shape[-3:]))
        shape = features.shape[1:]
        return features.reshape(*batch, shape.numel()) if self.flatten else features.reshape(*batch, *shape)

    def out_features(self, height: int, width: int) -> int:
        """F, for images of that size in pixels.

        Raises:
            ValueError: the image is smaller than the kernels.
        """
        size = (height, width)
        for kernel, stride, padding in self.geometry:
            size = tuple((pixels + 2 * padding - kernel) // stride + 1 for pixels in size)
        if min(size) < 1:
            raise ValueError(f"expected images large enough for the convolutions, got {height} × {width} pixels")
        return self.out_channels * size[0] * size[1]


def _of_any_depth(layer_class: Callable[..., nn.Module]) -> Callable[..., nn.Module]:
    if layer_class is not nn.Conv2d:
        raise ValueError(f"layers of {layer_class} need in_channels; only nn.Conv2d can infer it")
    return nn.LazyConv2d


def _per_layer(name: str, value: int | Sequence[int], depth: int) -> list[int]:
    values = [value] * depth if isinstance(value, int) else list(value)
    if len(values) != depth:
        raise ValueError(f"expected {name} to have one entry for each of the {depth} layers, got {values}")
    return values
