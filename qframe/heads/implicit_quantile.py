"""The implicit quantile head of IQN: the return at any given quantile level."""

import math

import torch
from torch import Tensor, nn

from qframe.functional.backup import Law
from qframe.functional.distributional import quantile_huber
from qframe.heads.base import Head, Prediction
from qframe.heads.quantile import check_kappa, midpoints


class ImplicitQuantileHead(Head[Law]):
    """The returns at quantile levels drawn at random, ``Z_τ(s, a) = f(ψ(s) ⊙ φ(τ))_a``; its target is a ``Law``.

    ``φ(τ) = ReLU(Σ_i cos(π·i·τ)·w_i + b)``, ψ the features of the network, f the last layer. Without given levels the
    head uses fixed midpoints, as in acting and evaluation. See "Implicit Quantile Networks for Distributional
    Reinforcement Learning", Dabney et al., 2018, sections 3 and 3.1.

    Args:
        features: size of the features that the network emits.
        num_actions: A.
        num_quantiles: N ≥ 1, levels of a prediction that is trained.
        num_target_quantiles: N′ ≥ 1, levels of one that makes targets.
        num_fixed_quantiles: K ≥ 1, midpoints where no levels are drawn.
        embedding_size: cosines per level, ≥ 1.
        kappa: threshold κ ≥ 0 of the Huber loss, in units of the return; 0 is the plain quantile loss.
        transform: of returns: ``none`` or ``h``.

    Raises:
        ValueError: no features, a number below 1, a negative κ, or an unknown transform.
    """

    has_levels = True
    takes_taus = True

    update_cost = 4

    def __init__(
        self,
        features: int | None,
        num_actions: int,
        *,
        num_quantiles: int = 64,
        num_target_quantiles: int = 64,
        num_fixed_quantiles: int = 32,
        embedding_size: int = 64,
        kappa: float = 1.0,
        transform: str = "none",
    ) -> None:
        numbers = {
            "num_quantiles": num_quantiles, "num_target_quantiles": num_target_quantiles,
            "num_fixed_quantiles": num_fixed_quantiles, "embedding_size": embedding_size,
        }  # fmt: skip
        for name, number in numbers.items():
            if number < 1:
                raise ValueError(f"expected {name} of at least 1, got {number}")
        check_kappa(kappa)
        if features is None:
            raise ValueError(f"{type(self).__name__} needs features, which it joins with quantile levels, not None")
        super().__init__(
            features, num_actions, num_outputs=num_fixed_quantiles, width=num_actions, transform=transform
        )
        self.embedding = nn.Linear(embedding_size, features)
        self.num_quantiles, self.num_target_quantiles, self.kappa = num_quantiles, num_target_quantiles, kappa
        self.taus: Tensor
        self.harmonics: Tensor
        self.register_buffer("taus", midpoints(num_fixed_quantiles))
        self.register_buffer("harmonics", torch.arange(embedding_size), persistent=False)  # exact in every dtype

    def prediction(self, features: Tensor, taus: Tensor | None = None) -> Prediction:
        taus = self.taus.to(features.dtype) if taus is None else taus  # [K] or [*B, N]
        return Prediction(self._quantiles(features, taus), taus.unsqueeze(-2))

    def draw_taus(self, batch: torch.Size, generator: torch.Generator, *, is_target: bool = False) -> Tensor:
        number = self.num_target_quantiles if is_target else self.num_quantiles
        return torch.rand(*batch, number, generator=generator)

    def law(self, prediction: Prediction) -> Law:
        return Law(prediction.out, torch.full_like(prediction.out, 1.0 / prediction.out.shape[-1]))

    def project(self, law: Law) -> Law:
        return law

    def loss(self, prediction: Prediction, target: Law) -> tuple[Tensor, Tensor]:
        quantiles, taus = prediction
        assert taus is not None
        return quantile_huber(quantiles, taus, target, self.kappa), target.mean - quantiles.mean(-1)

    def _quantiles(self, features: Tensor, taus: Tensor) -> Tensor:
        """The returns at levels ``[*B, N]`` for every action, ``[*B, H]`` → ``[*B, A, N]``."""
        cosines = (math.pi * taus.unsqueeze(-1) * self.harmonics).cos()  # [*B, N, E]
        joined = features.unsqueeze(-2) * self.embedding(cosines).relu()  # [*B, N, H]
        layer = self.precise if torch._C._is_any_autocast_enabled() else self.layer
        return layer(joined).transpose(-1, -2)
