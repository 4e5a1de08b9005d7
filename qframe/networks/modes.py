"""The modes of networks: evaluation mode everywhere but in the forward pass of a gradient.

So dropout draws nothing while acting or making targets, and batch normalisation works on a single observation and
changes only with batches of the replay. Noisy layers have a switch of their own: their noise is on while a run acts and
learns, in the target network as well, and off in evaluation.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from torch import nn

from qframe.networks.noise import noisy_layers
from qframe.networks.protocol import TrainedNetwork

_FILES = tuple(
    f"torch.nn.modules.{name}"
    for name in ("activation", "container", "conv", "flatten", "linear", "normalization", "padding", "pooling")
)
"""Modules of torch written here are the same in both modes, with two exceptions."""
_EXCEPTIONS = nn.RReLU, nn.MultiheadAttention


def set_acting_mode(network: object) -> None:
    """Put a network into evaluation mode, with its noisy layers switched on."""
    if isinstance(network, nn.Module):
        network.eval()
        for layer in noisy_layers(network):
            layer.train()


@contextmanager
def evaluating(network: TrainedNetwork) -> Iterator[None]:
    """Evaluation mode without noise, for the length of a ``with`` block."""
    before = [(module, module.training) for module in network.modules()]
    network.eval()
    try:
        yield
    finally:
        for module, training in before:
            module.training = training


def with_modes(network: nn.Module) -> list[nn.Module]:
    """The modules inside a network that may differ between the modes, noisy layers left out.

    >>> from qframe.networks import NoisyLinear
    >>> with_modes(nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Dropout(), NoisyLinear(4, 2)))
    [Dropout(p=0.5, inplace=False)]
    """
    return [module for module in network.modules() if not _is_alike(module)]


def _is_alike(module: nn.Module) -> bool:
    home = type(module).__module__
    is_torchs = home in _FILES and not isinstance(module, _EXCEPTIONS)
    return is_torchs or home.partition(".")[0] in ("qframe", "tensordict")


def in_mode(predict: Callable[..., Any], modules: Sequence[nn.Module], *, training: bool) -> Callable[..., Any]:
    """A function that computes with these modules in one mode, and leaves them in theirs."""
    if not modules:
        return predict

    def predicted(*inputs: Any, **options: Any) -> Any:
        before = [module.training for module in modules]
        try:
            for module in modules:
                module.training = training
            return predict(*inputs, **options)
        finally:
            for module, mode in zip(modules, before, strict=True):
                module.training = mode

    return predicted
