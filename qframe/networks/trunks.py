"""Trunks, which map an observation of known shape to features; heads own the last layer."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Any

import torch
from gymnasium import Space, spaces
from torch import Tensor, nn

from qframe.networks.observation_scaling import BYTE, as_floats

Shapes = dict[tuple[str, ...], tuple[int, ...]]
"""The shapes of an observation's entries by path; the path of an observation that is a single tensor is empty."""


class Trunk(nn.Module, ABC):
    """A module ``[*B, *observation_shape]`` → ``[*B, num_features]``. Its first argument is the observation's shape."""

    num_features: int
    shapes: Shapes = {}  # noqa: RUF012
    """The entries of the observation that can be normalised."""

    @classmethod
    def is_costly(cls, settings: Mapping[str, Any]) -> bool:
        """Whether a trunk with these arguments is slow enough on a batch to be worth several threads."""
        return False

    @abstractmethod
    def forward(self, observation: Any) -> Tensor:
        """Features of a batch of observations: a tensor, or a tensordict of entries."""


class MLPTrunk(nn.Sequential, Trunk):  # pyright: ignore
    """A multilayer perceptron over the flattened observation, activated after every layer.

    Args:
        observation_shape: the shape of one observation.
        num_cells: sizes of the layers.
        activation: builds an activation, such as a class of ``torch.nn``.
        layer_norm: whether each layer is normalised before its activation.
        byte_divisor: the number by which bytes are divided, 1 leaves them; None: all observations are floats.

    Raises:
        ValueError: no layer, or a size below 1.

    >>> MLPTrunk((4,), num_cells=[120, 84])(torch.zeros(2, 4)).shape
    torch.Size([2, 84])
    """

    def __init__(
        self,
        observation_shape: Sequence[int],
        *,
        num_cells: Sequence[int],
        activation: Callable[[], nn.Module] = nn.ReLU,
        layer_norm: bool = False,
        byte_divisor: float | None = None,
    ) -> None:
        if not num_cells or min(num_cells) < 1:
            raise ValueError(f"expected num_cells to list at least one positive size, got {list(num_cells)}")
        layers: list[nn.Module] = [] if byte_divisor is None else [_AsFloats(byte_divisor)]
        if not observation_shape:
            layers.append(nn.Unflatten(-1, (-1, 1)))
        elif len(observation_shape) > 1:
            layers.append(nn.Flatten(-len(observation_shape), -1))
        for size_in, size_out in pairwise([torch.Size(observation_shape).numel(), *num_cells]):
            norm = [nn.LayerNorm(size_out)] if layer_norm else []
            layers += [nn.Linear(size_in, size_out), *norm, activation()]
        super().__init__(*layers)
        self.num_features: int = num_cells[-1]
        self.shapes: Shapes = {(): tuple(observation_shape)}


class _AsFloats(nn.Module):
    def __init__(self, divisor: float) -> None:
        super().__init__()
        self._divisor = divisor

    def forward(self, observation: Tensor) -> Tensor:
        return as_floats(observation, self._divisor)


class ConvTrunk(Trunk):
    """The convolutions of the Nature DQN over ``[C, H, W]`` images, then one linear layer.

    See "Human-level control through deep reinforcement learning", Mnih et al., 2015, Methods.

    Args:
        observation_shape: ``(C, H, W)``.
        channels: output channels of each convolution.
        kernels: kernel size of each convolution, in pixels.
        strides: stride of each convolution, in pixels.
        num_features: size of the last linear layer.
        layer_norm: whether each layer is normalised before its activation, a convolution's over channels and pixels;
            see "Simplifying Deep Temporal Difference Learning", Gallici et al., 2025.
        channels_last: whether an observation is ``(H, W, C)``.
        byte_divisor: the number by which bytes are divided; 1 leaves them.

    Raises:
        ValueError: the shape is not an image's, the lists differ in length, or the image is too small for them.

    >>> ConvTrunk((4, 84, 84))(torch.zeros(2, 4, 84, 84, dtype=torch.uint8)).shape
    torch.Size([2, 512])
    """

    def __init__(
        self,
        observation_shape: Sequence[int],
        *,
        channels: Sequence[int] = (32, 64, 64),
        kernels: Sequence[int] = (8, 4, 3),
        strides: Sequence[int] = (4, 2, 1),
        num_features: int = 512,
        layer_norm: bool = False,
        channels_last: bool = False,
        byte_divisor: float = BYTE,
    ) -> None:
        super().__init__()
        if channels_last and len(observation_shape) == 3:
            observation_shape = (observation_shape[2], *observation_shape[:2])
        else:
            check_image(observation_shape, remedy="set trunk.channels_last=true, or ")
        self._is_channels_last = channels_last
        if not len(channels) == len(kernels) == len(strides):
            raise ValueError(
                f"expected as many kernels and strides as channels ({len(channels)}), "
                f"got {len(kernels)} and {len(strides)}"
            )
        in_channels, *size = observation_shape
        layers: list[nn.Module] = []
        for out_channels, kernel, stride in zip(channels, kernels, strides, strict=True):
            size = [(pixels - kernel) // stride + 1 for pixels in size]
            if min(size) < 1:
                seen = f"images (C, H, W) of {tuple(observation_shape)} are too small for kernels {list(kernels)} with "
                raise ValueError(f"{seen}strides {list(strides)}; use trunk=auto, or set smaller trunk.kernels")
            norm = [nn.LayerNorm([out_channels, *size])] if layer_norm else []
            layers += [nn.Conv2d(in_channels, out_channels, kernel, stride), *norm, nn.ReLU()]
            in_channels = out_channels
        self.convolutions = nn.Sequential(*layers)
        norm = [nn.LayerNorm(num_features)] if layer_norm else []
        self.linear = nn.Sequential(nn.Linear(in_channels * size[0] * size[1], num_features), *norm, nn.ReLU())
        self.num_features, self._divisor = num_features, byte_divisor

    @classmethod
    def is_costly(cls, settings: Mapping[str, Any]) -> bool:
        """True for images; False for small grids, whose convolutions skip no pixel."""
        return any(stride != 1 for stride in settings.get("strides", (4, 2, 1)))

    def forward(self, observation: Tensor) -> Tensor:
        images = observation.reshape(-1, *observation.shape[-3:])
        images = images.movedim(-1, -3) if self._is_channels_last else images
        images = as_floats(images, self._divisor, next(self.linear.parameters()).dtype)
        features = self.linear(self.convolutions(images).flatten(1))
        return features.reshape(*observation.shape[:-3], self.num_features)  # [*B, H]


def fitting_trunk(space: Space[Any]) -> tuple[str, dict[str, Any], str]:
    """The option in ``conf/trunk`` that fits observations, changes of its settings, and the reason.

    >>> import numpy as np
    >>> fitting_trunk(spaces.Box(0, 255, (4, 84, 84), np.uint8))
    ('nature', {}, 'images of 84 × 84 pixels')
    >>> fitting_trunk(spaces.Box(0, 1, (10, 10, 4), np.uint8))
    ('small_conv', {'channels_last': True}, 'images of 10 × 10 pixels')

    A square board of more planes than rows has its channels last as well, though it could be one of few wide images:

    >>> fitting_trunk(spaces.Box(0, 1, (4, 4, 16), np.uint8))
    ('small_conv', {'channels_last': True}, 'images of 4 × 4 pixels')
    """
    if not isinstance(space, spaces.Box):
        return "mlp", {}, "over encodings of the observation's entries" if space.shape is None else "over its encoding"
    if len(space.shape) != 3:
        return "mlp", {}, f"a vector of size {torch.Size(space.shape).numel()}"
    is_last = _is_channels_last(space.shape) or space.shape[0] == space.shape[1] != space.shape[2]  # a square board
    size = sorted(space.shape[:2] if is_last else space.shape[1:])
    changes: dict[str, Any] = {"channels_last": True} if is_last else {}
    if size[0] < 3:
        return "mlp", {}, f"images of {size[0]} × {size[1]} pixels"
    if size[0] < 36:
        changes |= {"channels": [32, 64], "kernels": [3, 3], "strides": [2, 2]} if size[1] > 12 and size[0] > 6 else {}
    elif size[1] > 100:
        changes |= {"strides": [4, 4, 2] if size[0] > 180 else [4, 2, 2]}
    reason = f"images of {' × '.join(map(str, space.shape[:2] if is_last else space.shape[1:]))} pixels"
    return "nature" if size[0] >= 36 else "small_conv", changes, reason


def _is_channels_last(shape: Sequence[int]) -> bool:
    """Whether an image's channels are last: it is a square of fewer channels, or they are four at most."""
    height, width, channels = shape
    return (height == width > channels) or channels <= 4 < min(height, width)


def check_image(shape: Sequence[int], *, remedy: str = "") -> None:
    """Check that a shape is an image's, with its channels first.

    Raises:
        ValueError: it is not, or looks like ``(H, W, C)``: a square of fewer channels, or four channels at most.
    """
    if len(shape) != 3:
        raise ValueError(f"expected images of shape (C, H, W), got {tuple(shape)}; use an MLPTrunk")
    if _is_channels_last(shape):
        remedy += "add qframe.envs.ChannelsFirst to the end of env.wrappers"
        raise ValueError(f"expected images of shape (C, H, W), got {tuple(shape)}, the channels last; {remedy}")
