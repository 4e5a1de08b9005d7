"""Dueling networks: a state value and advantages on common features.

See "Dueling Network Architectures for Deep Reinforcement Learning", Wang et al., 2016, equation 9.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from qframe.functional.dueling import dueling
from qframe.networks.conv import ConvNet
from qframe.networks.mlp import MLP


class _Dueling(nn.Module):
    """``q = v + a − mean_a a`` on the features of a trunk."""

    def __init__(self, features: nn.Module, advantage: nn.Module, value: nn.Module) -> None:
        super().__init__()
        self.features = features
        self.advantage = advantage
        self.value = value

    def forward(self, observation: Tensor) -> Tensor:
        """Action values ``[*B, A]``."""
        hidden = self.features(observation)
        return dueling(self.value(hidden), self.advantage(hidden).unsqueeze(-1)).squeeze(-1)  # [*B, A]


class DuelingMlpDQNet(_Dueling):
    """A dueling network on vectors, ``[*B, in]`` → action values ``[*B, A]``.

    Args:
        in_features: size of an observation.
        out_features: A, the number of actions.
        num_cells: hidden layers of the common part.
        stream_cells: hidden layers of each stream.
        activation_class: built for every hidden layer.
        layer_class: such as ``NoisyLinear``.
        device: of the parameters.
        dtype: of the parameters.

    >>> DuelingMlpDQNet(4, 2)(torch.zeros(3, 4)).shape
    torch.Size([3, 2])
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        *,
        num_cells: Sequence[int] = (64,),
        stream_cells: Sequence[int] = (64,),
        activation_class: Callable[..., nn.Module] = nn.ReLU,
        layer_class: Callable[..., nn.Module] = nn.Linear,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        if not num_cells:
            raise ValueError("num_cells must list at least one hidden layer of the common part")

        def mlp(size_in: int, size_out: int, cells: Sequence[int], activate_last_layer: bool = False) -> MLP:
            return MLP(
                size_in, size_out, cells, activation_class=activation_class, activate_last_layer=activate_last_layer,
                layer_class=layer_class, device=device, dtype=dtype,
            )

        hidden = num_cells[-1]
        super().__init__(
            mlp(in_features, hidden, num_cells[:-1], activate_last_layer=True),
            mlp(hidden, out_features, stream_cells),
            mlp(hidden, 1, stream_cells),
        )


class DuelingCnnDQNet(_Dueling):
    """A dueling network on images, ``[*B, C, H, W]`` → action values ``[*B, A]``.

    Args:
        in_shape: ``(C, H, W)`` of an observation.
        out_features: A, the number of actions.
        conv: the convolutions, for C channels; by default those of the Nature paper.
        stream_cells: hidden layers of each stream.
        activation_class: built for every hidden layer of the streams.
        layer_class: of the streams, such as ``NoisyLinear``.
        device: of the parameters.
        dtype: of the parameters.

    >>> DuelingCnnDQNet((4, 84, 84), 6)(torch.zeros(1, 4, 84, 84)).shape
    torch.Size([1, 6])
    """

    def __init__(
        self,
        in_shape: Sequence[int],
        out_features: int,
        *,
        conv: ConvNet | None = None,
        stream_cells: Sequence[int] = (512,),
        activation_class: Callable[..., nn.Module] = nn.ReLU,
        layer_class: Callable[..., nn.Module] = nn.Linear,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        channels, height, width = in_shape
        conv = ConvNet(channels, device=device, dtype=dtype) if conv is None else conv
        hidden = conv.out_features(height, width)

        def stream(size_out: int) -> MLP:
            return MLP(
                hidden, size_out, stream_cells, activation_class=activation_class, layer_class=layer_class,
                device=device, dtype=dtype,
            )

        super().__init__(conv, stream(out_features), stream(1))
