"""The head of HL-Gauss: regression of the mean return as classification among fixed returns."""

from typing import Literal

import torch
from torch import Tensor

from qframe.functional.backup import Law
from qframe.functional.distributional import gaussian_histogram
from qframe.heads.base import Prediction
from qframe.heads.categorical import CategoricalHead

STEEPEST = 2.0
"""The greatest step from one atom's initial logit to the next."""
HALVINGS = 60
"""Of the interval in which this step is found."""


class HLGaussHead(CategoricalHead):
    """The mean return, learnt as a histogram: the target is a Gaussian around the mean target, in bins ``[*B, N]``.

    Only the mean ``Σ p·z`` of its outputs has a meaning; they are not a return distribution. See "Stop Regressing:
    Training Value Functions via Classification for Scalable Deep RL", Farebrother et al., 2024, section 3.1.

    Args:
        features: size of the features that the network emits; None: the head owns no layer.
        num_actions: A.
        num_atoms: N ≥ 2, the bins' centres.
        v_min: lowest centre, in units of the discounted return; ``auto`` leaves it to ``set_bounds``.
        v_max: highest centre, likewise.
        sigma: standard deviation of the Gaussian, as a ratio to the width of a bin, above 0.
        transform: of returns: ``none`` or ``h``; centres are then transformed returns.

    Raises:
        ValueError: fewer than two bins, ``v_min`` not below ``v_max``, σ not above 0, or an unknown transform.
    """

    targets_mean = True

    def __init__(
        self,
        features: int | None,
        num_actions: int,
        *,
        num_atoms: int = 51,
        v_min: float | Literal["auto"] = -10.0,
        v_max: float | Literal["auto"] = 10.0,
        sigma: float = 0.75,
        transform: str = "none",
    ) -> None:
        super().__init__(
            features, num_actions, num_atoms=num_atoms, v_min=v_min, v_max=v_max, transform=transform
        )
        if not sigma > 0:
            raise ValueError(f"expected sigma above 0, got {sigma}")
        self._bins_per_sigma = sigma

    @property
    def padding(self) -> float:  # pyright: ignore[reportIncompatibleVariableOverride]
        """2σ: nearer to an end the mean of the cut Gaussian is up to a third of a bin off, which bootstraps add up."""
        return min(2 * self._bins_per_sigma / (self.num_outputs - 1), 0.25)

    @property
    def sigma(self) -> Tensor:
        """The standard deviation of the Gaussian, in units of the (transformed) return, ``[]``."""
        return self._bins_per_sigma * (self.support[1] - self.support[0])

    @torch.no_grad()
    def set_initial_mean(self, mean: float) -> None:
        """Tilt the bias, in place, so that features of 0 predict this mean return for every action.

        Logits are raised by λ per atom, which makes the distribution that of greatest entropy with this mean; |λ| is at
        most ``STEEPEST``, with a mean a sixth of an atom from the end. A last layer without a bias stays as it is.
        """
        bias = getattr(self.layer, "bias_mu", getattr(self.layer, "bias", None))
        if bias is None:
            return
        atoms = torch.arange(self.num_outputs, device=self.support.device, dtype=torch.float64)
        atoms -= atoms.mean()
        low, high = -STEEPEST, STEEPEST
        for _ in range(HALVINGS):
            step = (low + high) / 2
            is_below = self.value(Prediction(step * atoms)).item() < mean
            low, high = (step, high) if is_below else (low, step)
        bias.view(-1, self.num_outputs).add_((low + high) / 2 * atoms)

    def law(self, prediction: Prediction) -> Law:
        mean = prediction.out.softmax(-1) @ self.support.to(prediction.out.dtype)
        return Law(mean.unsqueeze(-1), torch.ones_like(mean).unsqueeze(-1))

    def project(self, law: Law) -> Tensor:
        return gaussian_histogram(law.mean, self.sigma, *self.ends, self.num_outputs)
