"""Choosing among action values: the greedy rule, the soft policy, and the entries of the chosen action.

Shapes: ``*B`` any batch dimensions, ``A`` actions, ``N`` atoms or quantiles. A mask is boolean, True where an
action is legal, and broadcasts to the values.
"""

from typing import NamedTuple

import torch
from torch import Tensor


class SoftPolicy(NamedTuple):
    """A Boltzmann policy: probabilities and their logarithms, both 0 on illegal actions."""

    prob: Tensor  # [*B, A]
    log_prob: Tensor  # [*B, A]


def lowest(dtype: torch.dtype) -> float | int:
    """The lowest finite number of ``dtype``, which stands for the value of an illegal action."""
    return torch.finfo(dtype).min if dtype.is_floating_point else torch.iinfo(dtype).min


def mask_values(value: Tensor, mask: Tensor | None) -> Tensor:
    """Action values with illegal actions at the lowest finite number of their dtype.

    Args:
        value: action values ``[*B, A]``.
        mask: legal actions, broadcastable to ``value``; None means that all are legal.

    Raises:
        TypeError: the mask is not boolean.
    """
    if mask is None:
        return value
    _check_mask(mask)
    return torch.where(mask, value, lowest(value.dtype))


def greedy(value: Tensor, mask: Tensor | None = None) -> Tensor:
    """The first action of the greatest value, ``argmax_a q(s, a)`` over legal actions.

    A legal action is chosen if there is one, even if its value is −inf. A row with no legal action gives index 0.
    NaN counts as the greatest value, so a row with NaN still gives an action.

    Args:
        value: action values ``[*B, A]``, of any dtype.
        mask: legal actions, broadcastable to ``value``.

    Returns:
        The index of the greedy action, int64 ``[*B]``.

    Raises:
        TypeError: the mask is not boolean.

    >>> greedy(torch.tensor([[1.0, 3.0, 2.0], [5.0, 5.0, 0.0]]))
    tensor([1, 0])
    >>> greedy(torch.tensor([-torch.inf, 3.0]), mask=torch.tensor([True, False]))
    tensor(0)
    """
    if mask is None:
        return value.argmax(-1)
    best = mask_values(value, mask).amax(-1, keepdim=True)
    is_best = ((value == best) | (value != value)) & mask  # [*B, A]
    # A legal value can equal or undercut the number that marks the illegal ones: any legal action then wins.
    return (is_best.to(torch.int8) + mask.to(torch.int8)).argmax(-1)  # [*B]


def soft(value: Tensor, temperature: float, mask: Tensor | None = None) -> SoftPolicy:
    """The Boltzmann policy ``π(a|s) ∝ exp(q(s, a) / τ)`` over legal actions.

    Logarithms of legal actions are finite however small τ is. A row with no legal action is 0 everywhere. See
    "Munchausen Reinforcement Learning", Vieillard et al., 2020, section 3.

    Args:
        value: action values ``[*B, A]``.
        temperature: τ > 0, in units of the values.
        mask: legal actions, broadcastable to ``value``.

    Raises:
        TypeError: the mask is not boolean.

    >>> soft(torch.tensor([0.0, 0.0, 7.0]), 1.0, mask=torch.tensor([True, True, False])).prob
    tensor([0.5000, 0.5000, 0.0000])
    """
    best = mask_values(value, mask).amax(-1, keepdim=True).detach()
    scaled = ((value - best) / temperature).clamp(min=lowest(value.dtype))  # at most 0, and no −inf
    log_prob = mask_values(scaled, mask).log_softmax(-1)
    prob = log_prob.exp()
    if mask is None:
        return SoftPolicy(prob, log_prob)
    return SoftPolicy(torch.where(mask, prob, 0.0), torch.where(mask, log_prob, 0.0))


def take(x: Tensor, index: Tensor) -> Tensor:
    """The entries of ``x`` that belong to the indexed action.

    Args:
        x: one vector per action, ``[*B, A, N]``.
        index: an action per batch entry, int64 ``[*B]``.

    Returns:
        ``[*B, N]``.

    >>> take(torch.tensor([[[1.0, 2.0], [3.0, 4.0]]]), torch.tensor([1]))
    tensor([[3., 4.]])
    """
    index = index.unsqueeze(-1).unsqueeze(-1)  # [*B, 1, 1]
    index = index if x.shape[-1] == 1 else index.expand(*index.shape[:-1], x.shape[-1])  # [*B, 1, N]
    return x.gather(-2, index).squeeze(-2)  # [*B, N]


def _check_mask(mask: Tensor) -> None:
    if mask.dtype is not torch.bool:
        raise TypeError(f"expected a boolean action mask (True = legal), got {mask.dtype}; convert it with mask.bool()")
