"""The quantile head of QR-DQN: returns at fixed, evenly spaced quantile levels."""

import torch
from torch import Tensor

from qframe.functional.backup import Law
from qframe.functional.distributional import quantile_huber
from qframe.heads.base import Head, Prediction


class QuantileHead(Head[Law]):
    """The returns at the ``num_quantiles`` quantile midpoints ``(i + ½) / N``; its target is a ``Law`` ``[*B, M]``.

    See "Distributional Reinforcement Learning with Quantile Regression", Dabney et al., 2018, section 4.

    Args:
        features: size of the features that the network emits; None: the head owns no layer.
        num_actions: A.
        num_quantiles: N ≥ 1.
        kappa: threshold κ ≥ 0 of the Huber loss, in units of the return; 0 is the plain quantile loss.
        transform: of returns: ``none`` or ``h``.

    Raises:
        ValueError: no quantile, a negative κ, or an unknown transform.
    """

    update_cost = 4

    def __init__(
        self,
        features: int | None,
        num_actions: int,
        *,
        num_quantiles: int = 200,
        kappa: float = 1.0,
        transform: str = "none",
    ) -> None:
        if num_quantiles < 1:
            raise ValueError(f"expected num_quantiles of at least 1, got {num_quantiles}")
        check_kappa(kappa)
        super().__init__(features, num_actions, num_outputs=num_quantiles, transform=transform)
        self.kappa = kappa
        self.taus: Tensor
        self.register_buffer("taus", midpoints(num_quantiles))

    def law(self, prediction: Prediction) -> Law:
        return Law(prediction.out, torch.full_like(prediction.out, 1.0 / self.num_outputs))

    def value(self, prediction: Prediction) -> Tensor:
        return prediction.out.mean(-1) if self.transform is None else super().value(prediction)

    def project(self, law: Law) -> Law:
        return law

    def loss(self, prediction: Prediction, target: Law) -> tuple[Tensor, Tensor]:
        quantiles = prediction.out
        td_error = target.mean - quantiles.mean(-1)
        return quantile_huber(quantiles, self.taus.to(quantiles.dtype), target, self.kappa), td_error


def midpoints(number: int) -> Tensor:
    """The midpoints ``(i + ½) / N`` of N even quantile levels, ``[N]``.

    >>> midpoints(2)
    tensor([0.2500, 0.7500])
    """
    return (torch.arange(number) + 0.5) / number


def check_kappa(kappa: float) -> None:
    """Check the threshold of a Huber loss.

    Raises:
        ValueError: it is negative.
    """
    if kappa < 0:
        raise ValueError(f"expected kappa of at least 0, got {kappa}")
