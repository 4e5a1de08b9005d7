"""The randomness of one forward pass of a network: quantile levels, and the noise of noisy layers.

It is drawn outside the pass, as a generator cannot enter a compiled graph.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from qframe.heads import Prediction
from qframe.networks.noisy import NoisyLinear, factors
from qframe.networks.protocol import Network


class PassNoise(NamedTuple):
    """The randomness of one forward pass."""

    taus: Tensor | None  # [*B, N], quantile levels; None for heads that take none
    weights: Tensor  # [W], the noise of all noisy layers, concatenated; W may be 0

    def of_share(self, share: int, shares: int) -> "PassNoise":
        """The noise for one of several equal parts of ``B``, the first dimension: its own levels, the same weights."""
        return self if self.taus is None else PassNoise(self.taus.chunk(shares)[share], self.weights)


class RandomPass:
    """A network with random parts, as the loss calls it: ``predict(observation, noise)``.

    See "Noisy Networks for Exploration", Fortunato et al., 2018, section 3: the online, target and acting networks
    each draw their own noise.

    Args:
        network: makes the predictions.
        module: whose noisy layers take the noise of the pass in place of their own.

    >>> from qframe.actions import Categorical
    >>> from qframe.heads import ScalarHead
    >>> from qframe.networks import MLPTrunk, QNet
    >>> network = QNet(MLPTrunk((4,), num_cells=[8]), ScalarHead, action_space=Categorical(2), noisy=True)
    >>> generator, random, x = torch.Generator().manual_seed(0), RandomPass(network, network), torch.ones(4)
    >>> first, second = (random.draw(torch.Size(), generator, like=x) for _ in range(2))
    >>> torch.equal(random.predict(x, first).out, random.predict(x, second).out)
    False
    """

    def __init__(self, network: Network, module: nn.Module) -> None:
        self._network = network
        self.layers = noisy_layers(module)

    def draw(
        self, batch: torch.Size, generator: torch.Generator, like: Tensor, *, is_target: bool = False
    ) -> PassNoise:
        """Draw the noise of one pass over ``[*B]``, the same on every device.

        Args:
            batch: ``*B``.
            generator: on the CPU.
            like: a tensor whose device and dtype the noise gets.
            is_target: whether the pass makes targets.
        """
        head, taus = self._network.head, None
        if head.takes_taus:
            taus = head.draw_taus(batch, generator, is_target=is_target).to(like.device, like.dtype)
        weights = factors(sum(layer.stream.size for layer in self.layers), generator)
        return PassNoise(taus, weights.to(like.device, like.dtype))

    def predict(self, observation: Any, noise: PassNoise) -> Prediction:
        """The prediction for every action with this noise, ``[*B, …]`` → ``[*B, A, N]``."""
        with self.installed(noise):
            return self._network.predict(observation, noise.taus)

    def installed(self, noise: PassNoise) -> AbstractContextManager[None]:
        """While active, the network's noisy layers have this noise."""
        return _noise_in(self.layers, noise.weights)


class NoNoise:
    """The pass of a network without random parts."""

    def installed(self, noise: None) -> AbstractContextManager[None]:
        """There is no noise to install."""
        return nullcontext()


NO_NOISE = NoNoise()


def random_passes(
    networks: tuple[Network, Network], modules: tuple[nn.Module, nn.Module]
) -> tuple[RandomPass, RandomPass] | None:
    """The passes of the online and the target network; None if they have no random parts."""
    if not (networks[0].head.takes_taus or noisy_layers(modules[0])):
        return None
    return RandomPass(networks[0], modules[0]), RandomPass(networks[1], modules[1])


def noisy_layers(network: object) -> list[NoisyLinear]:
    """The noisy layers of a network, in the order of its modules; empty if it is not a module."""
    modules = network.modules() if isinstance(network, nn.Module) else ()
    return [module for module in modules if isinstance(module, NoisyLinear)]


@contextmanager
def _noise_in(layers: list[NoisyLinear], weights: Tensor) -> Iterator[None]:
    """Give the layers this noise, and restore their own afterwards."""
    own = [layer.stream.noise for layer in layers]
    try:
        for layer, noise in zip(layers, weights.split([layer.stream.size for layer in layers], -1), strict=True):
            layer.stream.noise = noise
        yield
    finally:
        for layer, noise in zip(layers, own, strict=True):
            layer.stream.noise = noise
