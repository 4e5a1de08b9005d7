"""Losses and projections of distributional value learning, as functions of tensors.

Shapes: ``*B`` any batch dimensions, ``N`` atoms of a support or quantiles of a prediction, ``M`` atoms of a target.
"""

import torch
from torch import Tensor
from torch.special import entr

from qframe.functional.backup import Law
from qframe.functional.compiling import stored


def categorical_projection(law: Law, v_min: float | Tensor, v_max: float | Tensor, num_atoms: int) -> Tensor:
    """The projection Φ of a distribution onto evenly spaced atoms, each mass shared by the two nearest.

    See "A Distributional Perspective on Reinforcement Learning", Bellemare et al., 2017, equation 7.

    Args:
        law: atoms anywhere, ``[*B, M]``; those outside the support go to its ends.
        v_min: lowest atom of the support, in units of the return.
        v_max: highest atom.
        num_atoms: N ≥ 2.

    Returns:
        The probabilities of the N atoms, ``[*B, N]``.

    >>> law = Law(torch.tensor([0.25, 9.0]), torch.tensor([0.5, 0.5]))
    >>> categorical_projection(law, v_min=-1.0, v_max=1.0, num_atoms=3)
    tensor([0.0000, 0.3750, 0.6250])
    """
    step = (v_max - v_min) / (num_atoms - 1)
    position = ((law.location - v_min) / step).clamp(0, num_atoms - 1)  # [*B, M]
    lower = position.floor().clamp(max=num_atoms - 2)
    upper_share = position - lower
    index = lower.nan_to_num().long()
    upper, lower = law.mass * upper_share, law.mass * (1 - upper_share)
    probs = upper.new_zeros(*upper.shape[:-1], num_atoms)
    return probs.scatter_add(-1, index, lower).scatter_add(-1, index + 1, upper)  # [*B, N]


def categorical_cross_entropy(logits: Tensor, target_probs: Tensor) -> Tensor:
    """The cross-entropy ``−Σ_i p_i · log softmax(logits)_i`` of a target and a predicted distribution.

    See "A Distributional Perspective on Reinforcement Learning", Bellemare et al., 2017, algorithm 1.

    Args:
        logits: ``[*B, N]``.
        target_probs: ``[*B, N]``, adds up to 1.

    Returns:
        ``[*B]``.

    >>> categorical_cross_entropy(torch.zeros(4), torch.tensor([1.0, 0.0, 0.0, 0.0]))
    tensor(1.3863)
    """
    return -(target_probs * logits.log_softmax(-1)).sum(-1)


def gaussian_histogram(
    mean: Tensor, sigma: float | Tensor, v_min: float | Tensor, v_max: float | Tensor, num_atoms: int
) -> Tensor:
    """The masses of bins around evenly spaced atoms under a Gaussian that is cut off at the outer bins' ends.

    See "Stop Regressing: Training Value Functions via Classification for Scalable Deep RL", Farebrother et al., 2024,
    section 3.1.

    Args:
        mean: of the Gaussian, ``[*B]``; outside the support it goes to its ends.
        sigma: its standard deviation, in units of the return.
        v_min: lowest atom of the support.
        v_max: highest atom. A bin reaches half way to the next atom, and as far beyond the outer atoms.
        num_atoms: N ≥ 2.

    Returns:
        ``[*B, N]``, adds up to 1.

    >>> gaussian_histogram(torch.tensor([0.0, 9.0]), sigma=0.75, v_min=-1.0, v_max=1.0, num_atoms=3)
    tensor([[0.2407, 0.5186, 0.2407],
            [0.0299, 0.3075, 0.6626]])
    """
    low, high = (torch.as_tensor(end, dtype=mean.dtype, device=mean.device) for end in (v_min, v_max))
    step = (high - low) / (num_atoms - 1)
    edges = low + step * (torch.arange(num_atoms + 1, dtype=mean.dtype, device=mean.device) - 0.5)
    above = (edges - mean.clamp(low, high).unsqueeze(-1)) / (sigma * 2**0.5)
    cumulative = above.erf()  # [*B, N + 1], twice the distribution function, less 1
    return cumulative.diff(dim=-1) / (cumulative[..., -1:] - cumulative[..., :1])


def quantile_huber(quantiles: Tensor, taus: Tensor, target: Law, threshold: float = 1.0) -> Tensor:
    """The quantile Huber loss ``Σ_i E_Z |τ_i − 1{Z < θ_i}| · L_κ(Z − θ_i) / κ``; κ = 0 is the plain quantile loss.

    See "Distributional Reinforcement Learning with Quantile Regression", Dabney et al., 2018, equation 10. It has a
    gradient in the quantiles alone.

    Args:
        quantiles: predicted θ, ``[*B, N]``.
        taus: the quantile levels of θ in (0, 1), broadcastable to ``[*B, N]``.
        target: the target distribution Z, ``[*B, M]``.
        threshold: κ ≥ 0, in units of the return.

    Returns:
        Summed over predicted quantiles, averaged over the target's atoms, ``[*B]``.

    >>> target = Law(torch.tensor([1.0]), torch.tensor([1.0]))
    >>> quantile_huber(torch.tensor([0.0, 3.0]), torch.tensor([0.25, 0.75]), target)
    tensor(0.5000)
    """
    theta, z, mass = (stored(part.detach()) for part in (quantiles, *target))
    tau, scale = taus.detach().unsqueeze(-1), 1 / (threshold or 1)
    error = z.unsqueeze(-2) - theta.unsqueeze(-1)  # [*B, N, M]
    clipped = error.sign() if threshold == 0 else error.clamp(-threshold, threshold)  # κ times the derivative
    # The gradient is written down, and in place: automatic differentiation would keep six tensors [*B, N, M].
    weighted = torch.where(error < 0, 1 - tau, tau).mul_(mass.unsqueeze(-2)).mul_(clipped)
    loss = error.sub_(clipped, alpha=0.5 if threshold else 0).mul_(weighted).sum(-1) * scale  # [*B, N]
    # The term added to the slope is 0 for a finite loss. It makes the compiler compute both sums in one pass.
    slope = weighted.sum(-1) * scale + (loss - loss)
    return (loss - slope * (quantiles - theta)).sum(-1)


def fraction_loss(fractions: Tensor, edges: Tensor, quantiles: Tensor) -> Tensor:
    """A loss with the gradient ``∂W₁/∂τ_i = 2·F⁻¹(τ_i) − F⁻¹(τ̂_i) − F⁻¹(τ̂_{i−1})`` in the fractions, and no other.

    W₁ is the distance between a distribution and its values at the midpoints ``τ̂_i = (τ_i + τ_{i+1}) / 2``, each with
    mass ``τ_{i+1} − τ_i``. See "Fully Parameterized Quantile Function for Distributional Reinforcement Learning", Yang
    et al., 2019, proposition 1.

    Args:
        fractions: ``0 = τ_0 < … < τ_N = 1``, ``[*B, N + 1]``.
        edges: values at the inner fractions ``τ_1 … τ_{N−1}``, ``[*B, N − 1]``.
        quantiles: values at the midpoints, ``[*B, N]``.

    Returns:
        ``[*B]``; only its gradient has a meaning.

    >>> tau = torch.tensor([0.0, 0.5, 1.0], requires_grad=True)
    >>> fraction_loss(tau, torch.tensor([5.0]), torch.tensor([1.0, 3.0])).backward()
    >>> tau.grad
    tensor([0., 6., 0.])
    """
    gradient = 2 * edges - quantiles[..., 1:] - quantiles[..., :-1]
    return (gradient.detach() * fractions[..., 1:-1]).sum(-1)


def entropy(prob: Tensor) -> Tensor:
    """The entropy ``−Σ_i p_i · log p_i`` of probabilities ``[*B, N]``, in nats, ``[*B]``.

    >>> entropy(torch.tensor([0.5, 0.5, 0.0]))
    tensor(0.6931)
    """
    return entr(prob).sum(-1)
