"""The head of FQF: returns at quantile levels that the network proposes itself."""

from typing import Self

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from qframe.functional.backup import Law
from qframe.functional.distributional import entropy, fraction_loss, quantile_huber
from qframe.heads.base import Prediction
from qframe.heads.implicit_quantile import ImplicitQuantileHead


class FullyParameterizedQuantileHead(ImplicitQuantileHead):
    """The returns at the midpoints ``τ̂_i = (τ_i + τ_{i+1}) / 2`` of fractions τ that are proposed for each state.

    ``q(s, a) = Σ_i (τ_{i+1} − τ_i)·Z_{τ̂_i}(s, a)``. The quantiles learn by the quantile Huber loss, which does not move
    the fractions; the fractions by the gradient of the 1-Wasserstein distance, which moves nothing else, the features
    included. It adds nothing to the loss's value, which is the quantiles' alone. The target network proposes the
    target's fractions, and a target's atoms have the masses ``τ_{i+1} − τ_i`` (the paper weighs them alike).
    See "Fully Parameterized Quantile Function for Distributional Reinforcement Learning", Yang et al., 2019, section 3.

    Fractions must learn far more slowly than quantiles; the paper gives them an optimizer of their own, with a rate of
    2.5e-9. A weight on their loss would do nothing under Adam, whose steps do not depend on a gradient's scale. So the
    proposal's logits are multiplied by ``fraction_rate``: they move that much more slowly, whatever the optimizer.

    Args:
        features: size of the features that the network emits.
        num_actions: A.
        num_quantiles: N ≥ 1.
        fraction_rate: how fast fractions learn, ≥ 0, as a ratio to the learning rate; 0 keeps them even.
        entropy_weight: how much the fractions' entropy adds to what they maximise, ≥ 0, in units of the return.
        embedding_size: cosines per level, ≥ 1.
        kappa: threshold κ ≥ 0 of the Huber loss, in units of the return; 0 is the plain quantile loss.
        transform: of returns: ``none`` or ``h``.

    Raises:
        ValueError: no features, a number out of range, or an unknown transform.
    """

    takes_taus = False

    def __init__(
        self,
        features: int | None,
        num_actions: int,
        *,
        num_quantiles: int = 32,
        fraction_rate: float = 0.01,
        entropy_weight: float = 0.0,
        embedding_size: int = 64,
        kappa: float = 1.0,
        transform: str = "none",
    ) -> None:
        for name, number in (("fraction_rate", fraction_rate), ("entropy_weight", entropy_weight)):
            if number < 0:
                raise ValueError(f"expected {name} of at least 0, got {number}")
        super().__init__(
            features, num_actions, num_quantiles=num_quantiles, num_fixed_quantiles=num_quantiles,
            embedding_size=embedding_size, kappa=kappa, transform=transform,
        )  # fmt: skip
        assert features is not None
        self.fraction_rate, self.entropy_weight = fraction_rate, entropy_weight
        self.proposal: nn.Module | None = nn.Linear(features, num_quantiles)

    def as_follower(self) -> Self:
        self.proposal = None
        return self

    def prediction(self, features: Tensor, taus: Tensor | None = None) -> Prediction:
        """The outputs for every action, ``[*B, H]`` → ``[*B, A, N]``.

        Where gradients are recorded, the values at the inner fractions follow, ``[*B, A, N + N − 1]``: the loss of the
        fractions needs them. ``taus`` are fractions ``[*B, N + 1]``; None: they are proposed.
        """
        fractions = self._propose(features) if taus is None else taus
        fixed = fractions.detach()
        out = self._quantiles(features, (fixed[..., 1:] + fixed[..., :-1]) / 2)
        if torch.is_grad_enabled():
            with torch.no_grad():
                edges = self._quantiles(features, fixed[..., 1:-1])
            out = torch.cat([out, edges], -1)
        return Prediction(out, fractions.unsqueeze(-2))

    def law(self, prediction: Prediction) -> Law:
        assert prediction.taus is not None
        location = prediction.out[..., : self.num_outputs]
        return Law(location, prediction.taus.detach().diff(dim=-1).expand_as(location))

    def loss(self, prediction: Prediction, target: Law) -> tuple[Tensor, Tensor]:
        out, fractions = prediction
        assert fractions is not None
        law, fixed = self.law(prediction), fractions.detach()
        midpoints = (fixed[..., 1:] + fixed[..., :-1]) / 2
        loss = quantile_huber(law.location, midpoints, target, self.kappa)
        edges = out[..., self.num_outputs :]
        if edges.shape[-1]:
            of_fractions = self._fraction_loss(fractions, edges, law.location)
            loss = loss + (of_fractions - of_fractions.detach())  # the gradient alone
        return loss, target.mean - law.mean

    def _propose(self, features: Tensor) -> Tensor:
        """The fractions ``0 = τ_0 < … < τ_N = 1`` of states, ``[*B, H]`` → ``[*B, N + 1]``; features learn nothing."""
        if self.proposal is None:
            return torch.linspace(0, 1, self.num_outputs + 1, dtype=features.dtype, device=features.device)
        logits = self.fraction_rate * self.proposal(features.detach())
        return pad(logits.softmax(-1).cumsum(-1), (1, 0))

    def _fraction_loss(self, fractions: Tensor, edges: Tensor, quantiles: Tensor) -> Tensor:
        loss = fraction_loss(fractions, edges, quantiles)
        if self.entropy_weight == 0:
            return loss
        return loss - self.entropy_weight * entropy(fractions.diff(dim=-1))
