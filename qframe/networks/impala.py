"""The residual convolutional trunk of IMPALA, with the changes that BTR made to it."""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from qframe.networks.observation_scaling import BYTE, as_floats
from qframe.networks.trunks import Trunk, check_image


class ImpalaTrunk(Trunk):
    """IMPALA's residual network over ``[C, H, W]`` images, then one linear layer.

    Each stage is a convolution, a pooling that halves the image, and two residual blocks. Spectral normalisation of the
    blocks' convolutions and the pooling to a fixed size are those of BTR. See "IMPALA: Scalable Distributed Deep-RL
    with Importance Weighted Actor-Learner Architectures", Espeholt et al., 2018, figure 3, and "Beyond The Rainbow",
    Clark et al., 2024, section 3.

    Args:
        observation_shape: ``(C, H, W)``, of any size.
        channels: output channels of each stage.
        width_scale: multiplies all channels.
        spectral: whether the convolutions of residual blocks are divided by their largest singular value.
        pooled_size: height and width, in pixels, to which the last stage is pooled; None leaves it as it is.
        num_features: size of the last linear layer.
        byte_divisor: the number by which bytes are divided; 1 leaves them.

    Raises:
        ValueError: the shape is not an image's, or a size is below 1.

    >>> import torch
    >>> ImpalaTrunk((4, 84, 84), channels=[4, 8])(torch.zeros(2, 4, 84, 84, dtype=torch.uint8)).shape
    torch.Size([2, 512])
    """

    def __init__(
        self,
        observation_shape: Sequence[int],
        *,
        channels: Sequence[int] = (16, 32, 32),
        width_scale: int = 1,
        spectral: bool = False,
        pooled_size: int | None = None,
        num_features: int = 512,
        byte_divisor: float = BYTE,
    ) -> None:
        super().__init__()
        check_image(observation_shape)
        sizes = {"channels": min(channels, default=0), "width_scale": width_scale, "num_features": num_features}
        for name, size in (sizes | {"pooled_size": 1 if pooled_size is None else pooled_size}).items():
            if size < 1:
                raise ValueError(f"expected {name} of at least 1, got {size}")
        in_channels, *pixels = observation_shape
        stages: list[nn.Module] = []
        for out_channels in (width_scale * number for number in channels):
            stages.append(_stage(in_channels, out_channels, spectral))
            in_channels, pixels = out_channels, [(size + 1) // 2 for size in pixels]
        pool = nn.Identity() if pooled_size is None else nn.AdaptiveMaxPool2d(pooled_size)
        height, width = pixels if pooled_size is None else (pooled_size, pooled_size)
        self.convolutions = nn.Sequential(*stages, nn.ReLU(), pool)
        self.linear = nn.Sequential(nn.Linear(in_channels * height * width, num_features), nn.ReLU())
        self.num_features, self._divisor = num_features, byte_divisor

    @classmethod
    def is_costly(cls, settings: Mapping[str, Any]) -> bool:
        """Always True: the trunk is for images."""
        return True

    def forward(self, observation: Tensor) -> Tensor:
        images = observation.reshape(-1, *observation.shape[-3:])
        images = as_floats(images, self._divisor, next(self.linear.parameters()).dtype)
        features = self.linear(self.convolutions(images).flatten(1))
        return features.reshape(*observation.shape[:-3], self.num_features)  # [*B, H]


class _Residual(nn.Module):
    def __init__(self, channels: int, spectral: bool) -> None:
        super().__init__()
        first, second = (nn.Conv2d(channels, channels, 3, padding=1) for _ in range(2))
        if spectral:
            first, second = spectral_norm(first), spectral_norm(second)
        self.block = nn.Sequential(nn.ReLU(), first, nn.ReLU(), second)

    def forward(self, image: Tensor) -> Tensor:
        return image + self.block(image)


def _stage(in_channels: int, out_channels: int, spectral: bool) -> nn.Sequential:
    """``[B, C, H, W]`` → ``[B, C', ⌈H/2⌉, ⌈W/2⌉]``."""
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, 3, padding=1),
        nn.MaxPool2d(3, stride=2, padding=1),
        _Residual(out_channels, spectral),
        _Residual(out_channels, spectral),
    )
