"""Returns along time: n-step sums, λ-returns, and the λ-return as an explicit mixture over horizons.

Shapes: ``*B`` any batch dimensions, ``T`` time, always last here.
"""

import torch
from torch import Tensor

from qframe.functional.backup import Backup, affine


def n_step_return(reward: Tensor, discount: Tensor, value: Tensor) -> Tensor:
    """The n-step return ``r_0 + γ_0 r_1 + … + (γ_0 ⋯ γ_{n−1}) · v``, n the length of the time dimension.

    For code of your own: a run sums n steps as they are stored, in ``qframe.replay.n_step``. See "Learning to Predict
    by the Methods of Temporal Differences", Sutton, 1988.

    Args:
        reward: ``[*B, T]``.
        discount: ``[*B, T]``, γ per step, 0 where the episode terminated; nothing beyond it is used.
        value: bootstrap at the end of the last step, ``[*B]``.

    Returns:
        ``[*B]``.

    >>> n_step_return(torch.tensor([1.0, 2.0]), torch.tensor([0.5, 0.5]), torch.tensor(8.0))
    tensor(4.)
    """
    for t in reversed(range(reward.shape[-1])):
        value = affine(reward[..., t], discount[..., t], value)
    return value


def lambda_return(reward: Tensor, discount: Tensor, value: Tensor, trace: Tensor) -> Tensor:
    """The λ-return ``G_t = r_t + γ_t · [v_{t+1} + c_t · (G_{t+1} − v_{t+1})]``, computed backwards in time.

    With ``v = max_a q`` and ``c = λ`` this is Peng's Q(λ). See "Incremental Multi-Step Q-Learning", Peng and
    Williams, 1996, section 3; Sutton and Barto, 2018, equation 12.18.

    Args:
        reward: ``[*B, T]``.
        discount: ``[*B, T]``, γ per step, 0 where the episode terminated.
        value: ``v_{t+1}``, the bootstrap value of the state after step t, ``[*B, T]``.
        trace: ``c_t`` in ``[0, 1]``, ``[*B, T]``; 0 at an episode's last step. Its last entry is not read.

    Returns:
        ``[*B, T]``.

    >>> one = torch.ones(3)
    >>> lambda_return(one, 0.5 * one, 4 * one, 0 * one)  # λ = 0: one step
    tensor([3., 3., 3.])
    >>> lambda_return(one, 0.5 * one, 4 * one, one)  # λ = 1: rewards, then the last bootstrap
    tensor([2.2500, 2.5000, 3.0000])
    """
    # G_t = fixed_t + kept_t · G_{t+1}: everything but the recursion is computed for all steps at once.
    trace = torch.cat([trace[..., :-1], torch.zeros_like(trace[..., -1:])], -1)
    fixed = affine(reward, discount, torch.where(trace == 0, value, (1 - trace) * value))
    kept = discount * trace
    following, returns = torch.zeros_like(fixed[..., 0]), []
    for constant, factor, is_cut in zip(*(x.unbind(-1)[::-1] for x in (fixed, kept, kept == 0)), strict=True):
        following = constant + (factor * following).masked_fill(is_cut, 0.0)
        returns.append(following)
    return torch.stack(returns[::-1], -1)  # [*B, T]


def lambda_horizons(reward: Tensor, discount: Tensor, trace: Tensor) -> Backup:
    """The λ-return of every step as an explicit mixture over the horizons at which it bootstraps.

    Step t bootstraps after step k ≥ t with weight ``(1 − c_k) · Π_{t ≤ j < k} c_j``, reward ``Σ γ ⋯ r`` and
    discount ``Π γ``; the horizon ends where the trace or the time does, and where an episode terminated.

    Args:
        reward: ``[*B, T]``.
        discount: ``[*B, T]``, γ per step, 0 where the episode terminated.
        trace: ``c_t`` in ``[0, 1]``, ``[*B, T]``. Its last entry is not read.

    Returns:
        A backup ``[*B, T, K]`` with K = T: entry ``(t, k)`` bootstraps on the state after step k; k < t has weight 0.

    >>> lambda_horizons(torch.zeros(2), torch.full((2,), 0.9), torch.full((2,), 0.8)).weight
    tensor([[0.2000, 0.8000],
            [0.0000, 1.0000]])
    """
    horizon = reward.shape[-1]
    reward, discount, trace = torch.broadcast_tensors(reward, discount, torch.where(discount == 0, 0.0, trace))
    stop = 1 - torch.cat([trace[..., :-1], torch.zeros_like(trace[..., -1:])], -1)
    zero = torch.zeros_like(reward[..., 0])
    rows = []
    for t in range(horizon):
        total, product, reach = zero, zero + 1, zero + 1
        row = [(zero, zero, zero)] * t
        for k in range(t, horizon):
            total = total + product * reward[..., k]
            product = product * discount[..., k]
            row.append((total, product, reach * stop[..., k]))
            reach = reach * (1 - stop[..., k])
        rows.append([torch.stack(column, -1) for column in zip(*row, strict=True)])
    return Backup(*(torch.stack(column, -2) for column in zip(*rows, strict=True)))  # [*B, T, K]
