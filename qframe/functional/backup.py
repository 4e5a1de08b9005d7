"""Return distributions (``Law``), and the affine maps and mixtures of them that make targets (``Backup``).

An estimator returns a ``Backup``; a head applies it to its own distributions. Shapes: ``*B`` any batch dimensions,
``K`` bootstraps mixed into one target, ``N`` atoms, ``T`` time.
"""

from typing import NamedTuple

import torch
from torch import Tensor


class Law(NamedTuple):
    """A return distribution, called a law in this code, as weighted atoms: ``Σ mass · δ(location)``.

    A scalar value is a law with one atom. A categorical head has atoms at fixed locations and learns their masses; a
    quantile head has equal masses and learns their locations.
    """

    location: Tensor  # [*B, N]
    mass: Tensor  # [*B, N], adds up to 1

    @property
    def mean(self) -> Tensor:
        """``Σ mass · location``, ``[*B]``."""
        return (self.location * self.mass).sum(-1)


class Backup(NamedTuple):
    """The target law ``Σ_k weight_k · law(reward_k + discount_k · z_k)``.

    ``weight`` None means one bootstrap: reward and discount are ``[*B]``; otherwise all three are ``[*B, K]``.
    """

    reward: Tensor  # [*B] or [*B, K]
    discount: Tensor  # the same shape; 0 cuts the bootstrap
    weight: Tensor | None = None  # [*B, K]


class LambdaBackup(NamedTuple):
    """The λ-return ``G_t = r_t + γ_t · [(1 − c_t) · z_{t+1} + c_t · G_{t+1}]`` along the last batch dimension.

    ``trace`` is c, entry t being that of the step from t to t + 1: 0 at the last step and wherever an episode ends.
    ``weight`` None means one bootstrap z per step; otherwise each is itself a mixture, ``z = Σ_k weight_k · z_k``.
    """

    reward: Tensor  # [*B, T]
    discount: Tensor  # [*B, T]; 0 cuts the bootstrap
    trace: Tensor  # [*B, T]
    weight: Tensor | None = None  # [*B, T, K], adds up to 1


def affine(reward: Tensor, discount: Tensor, value: Tensor) -> Tensor:
    """``reward + discount · value``, a select where the discount is 0: NaN or inf beyond the end does no harm."""
    return torch.where(discount.logical_not(), reward, reward + discount * value)


def apply(backup: Backup, law: Law) -> Law:
    """The target law: every atom moved to ``reward + discount · location``, every bootstrap by its weight.

    Where the discount is 0, location and mass are selected, not multiplied: the law is a point mass at the reward,
    whatever the bootstrap holds.

    Args:
        backup: one bootstrap, or K of them.
        law: ``[*B, N]`` for one bootstrap, ``[*B, K, N]`` for K.

    Returns:
        A law ``[*B, N]`` or ``[*B, K·N]``.

    >>> coin = Law(torch.tensor([0.0, 10.0]), torch.tensor([0.5, 0.5]))
    >>> apply(Backup(torch.tensor(1.0), torch.tensor(0.9)), coin).location
    tensor([ 1., 10.])
    """
    discount = backup.discount.unsqueeze(-1)
    location = affine(backup.reward.unsqueeze(-1), discount, law.location)
    mass = torch.where(discount == 0, 1.0 / law.mass.shape[-1], law.mass)
    if backup.weight is None:
        return Law(location, mass)
    return mix(backup.weight, Law(location, mass))


def mix(weight: Tensor, law: Law) -> Law:
    """The mixture ``Σ_k weight_k · law_k``; a law of weight 0 is left out, whatever it holds.

    Args:
        weight: ``[*B, K]``.
        law: ``[*B, K, N]``.

    Returns:
        A law ``[*B, K·N]``.

    >>> mix(torch.tensor([0.25, 0.75]), Law(torch.tensor([[0.0], [4.0]]), torch.ones(2, 1))).mean
    tensor(3.)
    """
    weight = weight.unsqueeze(-1)  # [*B, K, 1]
    location = torch.where(weight == 0, 0.0, law.location)
    mass = torch.where(weight == 0, 0.0, weight * law.mass)
    return Law(location.flatten(-2), mass.flatten(-2))  # [*B, K·N]


def weighted_sum(weight: Tensor, value: Tensor) -> Tensor:
    """``Σ_k weight_k · value_k`` over the last dimension; a value of weight 0 is left out, whatever it is.

    >>> weighted_sum(torch.tensor([1.0, 0.0]), torch.tensor([2.0, torch.nan]))
    tensor(2.)
    """
    return torch.where(weight == 0, 0.0, weight * value).sum(-1)
