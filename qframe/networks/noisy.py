"""The noisy linear layer, which explores by learnt noise on its weights, and its use in a network."""

import math
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.nn.functional import linear


class NoisyLinear(nn.Module):
    """A linear layer with factorised Gaussian noise, ``y = (μ + σ ⊙ f(ε_out) f(ε_in)ᵀ) x + μ_b + σ_b ⊙ f(ε_out)``.

    See "Noisy Networks for Exploration", Fortunato et al., 2018, equations 10 and 11, ``f(x) = sgn(x)·√|x|``.

    In evaluation mode the mean weights are used. The noise is redrawn by ``reset_noise`` alone, so one network has one
    noise for a whole batch. It is not a buffer: no ``state_dict`` and no target update includes it. It follows the
    weights' device and dtype, where it is drawn again. A copy made by ``deepcopy`` draws from a stream of its own.

    Args:
        in_features: size of the inputs.
        out_features: size of the outputs.
        bias: whether to add a bias, which is noisy too.
        std_init: σ₀, the initial σ times √in_features.
        device: of the parameters.
        dtype: of the parameters.
        seed: of the layer's own noise; None draws one from torch's default generator, like the parameters.

    >>> layer = NoisyLinear(4, 2)
    >>> sorted(layer.state_dict())
    ['bias_mu', 'bias_sigma', 'weight_mu', 'weight_sigma']
    >>> x = torch.ones(1, 4)
    >>> before = layer(x)
    >>> layer.reset_noise()
    >>> torch.equal(before, layer(x)), torch.equal(layer.eval()(x), layer.eval()(x))
    (False, True)
    """

    bias_mu: nn.Parameter | None
    bias_sigma: nn.Parameter | None

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = True,
        *,
        std_init: float = 0.5,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        seed: int | None = None,
    ) -> None:
        super().__init__()
        if std_init < 0:
            raise ValueError(f"expected std_init (noisy_std of a network) ≥ 0, got {std_init}")
        self.in_features, self.out_features, self.std_init = in_features, out_features, std_init
        options: dict[str, Any] = {"device": device, "dtype": dtype}
        self.weight_mu = nn.Parameter(torch.empty(out_features, in_features, **options))
        self.weight_sigma = nn.Parameter(torch.empty(out_features, in_features, **options))
        self.register_parameter("bias_mu", nn.Parameter(torch.empty(out_features, **options)) if bias else None)
        self.register_parameter("bias_sigma", nn.Parameter(torch.empty(out_features, **options)) if bias else None)
        self.reset_parameters()
        self.stream = NoiseStream(in_features + out_features, _drawn_seed() if seed is None else seed)
        self.reset_noise()

    def reset_parameters(self) -> None:
        """Draw the initial μ and set the initial σ; section 3.2 of the paper."""
        bound = 1 / math.sqrt(self.in_features)
        for mu, sigma in ((self.weight_mu, self.weight_sigma), (self.bias_mu, self.bias_sigma)):
            if mu is not None and sigma is not None:
                nn.init.uniform_(mu, -bound, bound)
                nn.init.constant_(sigma, self.std_init * bound)

    def reset_noise(self, generator: torch.Generator | None = None) -> None:
        """Draw new noise, from the given generator or the layer's own stream."""
        self.stream.draw(self.weight_mu, generator)

    def forward(self, x: Tensor) -> Tensor:
        """``[*B, in]`` → ``[*B, out]``."""
        if not self.training:
            return linear(x, self.weight_mu, self.bias_mu)
        noise_in, noise_out = self.stream.noise.split((self.in_features, self.out_features), -1)
        weight = self.weight_mu + self.weight_sigma * torch.outer(noise_out, noise_in)  # [out, in]
        bias = self.bias_mu
        if bias is not None and self.bias_sigma is not None:
            bias = bias + self.bias_sigma * noise_out
        return linear(x, weight, bias)

    def _apply(self, fn: Any, recurse: bool = True) -> Self:
        super()._apply(fn, recurse)
        if (self.stream.noise.device, self.stream.noise.dtype) != (self.weight_mu.device, self.weight_mu.dtype):
            self.reset_noise()
        return self

    def extra_repr(self) -> str:
        return (
            f"in_features={self.in_features}, out_features={self.out_features}, bias={self.bias_mu is not None}, "
            f"std_init={self.std_init}"
        )


def make_noisy(*modules: nn.Module, std_init: float) -> None:
    """Replace every linear layer inside some modules by a noisy one, whose mean starts as that layer's weights.

    Args:
        modules: trunks and heads.
        std_init: σ₀, the initial σ times √in_features.

    >>> net = nn.Sequential(nn.Conv2d(3, 4, 1), nn.Flatten(), nn.Linear(4, 2))
    >>> make_noisy(net, std_init=0.5)
    >>> net[2]
    NoisyLinear(in_features=4, out_features=2, bias=True, std_init=0.5)
    """
    for module in modules:
        for name, child in list(module.named_children()):
            if type(child) is nn.Linear:
                setattr(module, name, _noisy_like(child, std_init))
            else:
                make_noisy(child, std_init=std_init)


def _noisy_like(linear: nn.Linear, std_init: float) -> NoisyLinear:
    weight, has_bias = linear.weight, linear.bias is not None
    options: dict[str, Any] = {"device": weight.device, "dtype": weight.dtype}
    layer = NoisyLinear(linear.in_features, linear.out_features, has_bias, std_init=std_init, **options)
    with torch.no_grad():
        for mu, start in ((layer.weight_mu, weight), (layer.bias_mu, linear.bias)):
            if mu is not None:
                mu.copy_(start)
    return layer


def _drawn_seed() -> int:
    return int(torch.randint(2**62, (), device="cpu"))


class NoiseStream:
    """The noise of one layer, ``f(ε_in)`` and ``f(ε_out)`` concatenated, and the stream that it is drawn from.

    Args:
        size: in + out.
        seed: of the stream.
    """

    def __init__(self, size: int, seed: int) -> None:
        self.size, self.seed = size, seed
        self.num_copies = 0
        self.generator = torch.Generator().manual_seed(seed)
        self.noise = torch.empty(0)  # [in + out]

    def draw(self, like: Tensor, generator: torch.Generator | None = None) -> None:
        """Draw new noise, of a tensor's device and dtype."""
        self.noise = factors(self.size, self.generator if generator is None else generator).to(like.device, like.dtype)

    def __deepcopy__(self, memo: dict[int, Any]) -> "NoiseStream":
        self.num_copies += 1
        copied = NoiseStream(self.size, seed=hash((self.seed, self.num_copies)) % 2**62)
        copied.draw(self.noise)
        return copied


def factors(size: int, generator: torch.Generator) -> Tensor:
    """``f(ε)`` of independent normal numbers ε, ``f(x) = sgn(x)·√|x|``, ``[size]`` on the generator's device."""
    number = torch.randn(size, generator=generator, device=generator.device)
    return number.sign() * number.abs().sqrt()
