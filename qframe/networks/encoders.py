"""Encoders from one entry of an observation to features, and trunks that join the features of all entries.

An observation of Gymnasium's Dict or Tuple space is a tensordict with an entry per key (a Tuple's are "0", "1", …).
"""

from collections.abc import Mapping, Sequence
from functools import singledispatch
from itertools import accumulate
from typing import Any

import numpy as np
import torch
from gymnasium import Space, spaces
from tensordict import TensorDictBase
from torch import Tensor, nn

from qframe.networks.observation_scaling import BYTE, as_floats, byte_divisor, has_integer_bounds
from qframe.networks.trunks import Shapes, Trunk

REFUSED_OBSERVATIONS: dict[str, str] = {
    "Text": "encode it as numbers of a fixed shape",
    "Sequence": "pad it to a fixed length",
    "Graph": "give its features as arrays of a fixed shape",
    "OneOf": "give all of its spaces as entries of a Dict",
    "MissionSpace": "use env=minigrid, which shows the grid alone",
}
"""Gymnasium observation spaces that have no encoder, and the remedy for each."""

Encoder = Trunk
"""A trunk over one entry: ``[*B, …]`` → ``[*B, num_features]``."""


class FlatEncoder(Encoder):
    """Flattens numbers.

    Args:
        shape: of one entry.
        divisor: the number by which bytes are divided; 1 leaves them.
        bounds: the lowest and highest values of integers, which become [0, 1]; None leaves them.

    >>> FlatEncoder((2, 3))(torch.ones(5, 2, 3, dtype=torch.int8)).shape
    torch.Size([5, 6])
    """

    def __init__(
        self, shape: Sequence[int], *, divisor: float = 1.0, bounds: tuple[Any, Any] | None = None
    ) -> None:
        super().__init__()
        self.shapes: Shapes = {(): tuple(shape)}
        self.low: Tensor | None
        self.span: Tensor | None
        low, high = (None, None) if bounds is None else (torch.as_tensor(bound).float().flatten() for bound in bounds)
        self.register_buffer("low", low, persistent=False)
        self.register_buffer("span", None if high is None or low is None else high - low, persistent=False)
        self._rank, self.num_features, self._divisor = len(shape), torch.Size(shape).numel(), divisor

    def forward(self, observation: Tensor) -> Tensor:
        flat = observation.flatten(-self._rank) if self._rank else observation.unsqueeze(-1)
        if flat.is_floating_point():
            return flat
        floats = as_floats(flat, self._divisor)
        return floats if self.low is None or self.span is None else (floats - self.low) / self.span


class OneHotEncoder(Encoder):
    """Encodes each of one or several choices as a one-hot vector, and joins the vectors.

    Args:
        sizes: number of values of each choice.
        start: the first value of each.
        shape: of one entry; empty for a single number.

    >>> OneHotEncoder([3, 2], start=[5, 0], shape=(2,))(torch.tensor([[7, 0]]))
    tensor([[0., 0., 1., 1., 0.]])
    """

    def __init__(self, sizes: Sequence[int], *, start: Sequence[int], shape: Sequence[int]) -> None:
        super().__init__()
        offset = [before - first for before, first in zip([0, *accumulate(sizes)], start, strict=False)]
        self.offset: Tensor
        self.register_buffer("offset", torch.tensor(offset), persistent=False)
        self._rank, self.num_features = len(shape), sum(sizes)

    def forward(self, observation: Tensor) -> Tensor:
        index = observation.flatten(-self._rank) if self._rank else observation.unsqueeze(-1)  # [*B, D]
        zeros = torch.zeros(*index.shape[:-1], self.num_features, device=index.device)
        return zeros.scatter(-1, index.long() + self.offset, 1.0)


class ImageEncoder(Encoder):
    """Encodes images of bytes by 3 × 3 convolutions of stride 2 until no side exceeds 8 pixels.

    Args:
        shape: ``(C, H, W)`` or ``(H, W, C)``: the channels are the shorter of the outer two.
        divisor: the number by which bytes are divided; 1 leaves them.

    >>> ImageEncoder((7, 7, 3))(torch.zeros(2, 7, 7, 3, dtype=torch.uint8)).shape
    torch.Size([2, 256])
    """

    def __init__(self, shape: Sequence[int], *, divisor: float = BYTE) -> None:
        super().__init__()
        self._is_channels_last, self._divisor = shape[2] <= shape[0], divisor
        channels, *size = (shape[2], *shape[:2]) if self._is_channels_last else shape
        layers: list[nn.Module] = []
        while not layers or max(size) > 8:
            width = 32 if layers else 16
            layers += [nn.Conv2d(channels, width, kernel_size=3, stride=2, padding=1), nn.ReLU()]
            channels, size = width, [(pixels + 1) // 2 for pixels in size]
        self.convolutions = nn.Sequential(*layers)
        self.num_features = channels * size[0] * size[1]

    def forward(self, observation: Tensor) -> Tensor:
        images = observation.movedim(-1, -3) if self._is_channels_last else observation
        batch = images.shape[:-3]
        floats = as_floats(images.reshape(-1, *images.shape[-3:]), self._divisor, next(self.parameters()).dtype)
        return self.convolutions(floats).reshape(*batch, self.num_features)  # [*B, F]


class FusedEncoder(Encoder):
    """Joins the features of several entries.

    Args:
        encoders: by key.

    Raises:
        ValueError: there are none.
    """

    def __init__(self, encoders: Mapping[str, Encoder]) -> None:
        super().__init__()
        if not encoders:
            raise ValueError("the observation space is an empty Dict or Tuple; give it at least one entry")
        self._keys = list(encoders)
        self.encoders = nn.ModuleList(encoders.values())  # a key need not be a valid attribute name
        self.shapes: Shapes = {
            (key, *path): shape for key, encoder in encoders.items() for path, shape in encoder.shapes.items()
        }
        self.num_features = sum(encoder.num_features for encoder in encoders.values())

    def forward(self, observation: TensorDictBase) -> Tensor:
        parts = zip(self._keys, self.encoders, strict=True)
        return torch.cat([encoder(observation.get(key)) for key, encoder in parts], -1)


class EncodedTrunk(Trunk):
    """A trunk on top of encoded observations.

    Args:
        encoder: observation → its features.
        trunk: over these features.
    """

    def __init__(self, encoder: Encoder, trunk: Trunk) -> None:
        super().__init__()
        self.encoder, self.trunk = encoder, trunk
        self.shapes, self.num_features = encoder.shapes, trunk.num_features

    def forward(self, observation: Any) -> Tensor:
        return self.trunk(self.encoder(observation))


@singledispatch
def make_encoder(space: Space[Any]) -> Encoder:
    """The encoder of an observation space; to add one, register a function for your space.

    Raises:
        ValueError: a space that has no encoder.

    >>> make_encoder(spaces.Dict({"at": spaces.Discrete(16), "bag": spaces.MultiBinary(4)})).num_features
    20
    """
    kind = next((cls.__name__ for cls in type(space).__mro__ if cls.__name__ in REFUSED_OBSERVATIONS), "")
    remedy = REFUSED_OBSERVATIONS.get(kind, "wrap the environment so that it gives arrays")
    raise ValueError(
        f"expected observations of Box, Discrete, MultiDiscrete, MultiBinary, or Dict and Tuple of these, got {space}; "
        f"{remedy}"
    )


def has_images(space: spaces.Space[Any]) -> bool:
    """Whether a nested observation has an entry that is encoded as an image."""
    if isinstance(space, spaces.Dict | spaces.Tuple):
        entries = space.spaces.values() if isinstance(space, spaces.Dict) else space.spaces
        return any(has_images(entry) or (isinstance(entry, spaces.Box) and _is_image(entry)) for entry in entries)
    return False


def _is_image(space: spaces.Box) -> bool:
    return space.dtype == np.uint8 and len(space.shape) == 3


def check_box(space: spaces.Box) -> None:
    """Check that a Box holds real numbers, at least one.

    Raises:
        ValueError: it does not.
    """
    if np.dtype(space.dtype).kind not in "biuf":
        remedy = "give real and imaginary parts as two numbers"
        raise ValueError(f"expected observations of real numbers, got {space}; {remedy}")
    if 0 in space.shape:
        raise ValueError(f"expected observations of at least one number, got {space}; leave an empty entry out")


@make_encoder.register
def _(space: spaces.Box) -> Encoder:
    check_box(space)
    if _is_image(space):
        return ImageEncoder(space.shape, divisor=byte_divisor(space))
    bounds = (space.low, space.high) if has_integer_bounds(space) else None
    return FlatEncoder(space.shape, divisor=1.0 if bounds else byte_divisor(space), bounds=bounds)


@make_encoder.register
def _(space: spaces.MultiBinary) -> Encoder:
    encoder = FlatEncoder(space.shape)
    encoder.shapes = {}  # bits are on one scale already
    return encoder


@make_encoder.register
def _(space: spaces.Discrete) -> Encoder:
    return OneHotEncoder([int(space.n)], start=[int(space.start)], shape=())


@make_encoder.register
def _(space: spaces.MultiDiscrete) -> Encoder:
    return OneHotEncoder(space.nvec.reshape(-1).tolist(), start=space.start.reshape(-1).tolist(), shape=space.shape)


@make_encoder.register
def _(space: spaces.Dict) -> Encoder:
    return FusedEncoder({key: make_encoder(entry) for key, entry in space.spaces.items()})


@make_encoder.register
def _(space: spaces.Tuple) -> Encoder:
    return FusedEncoder({str(number): make_encoder(entry) for number, entry in enumerate(space.spaces)})
