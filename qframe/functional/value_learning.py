"""Targets and losses of scalar value learning, for code of your own.

A run does not call them: its targets come from ``qframe.objectives.q_learning``, and n steps from
``qframe.replay.n_step``.

Shapes: ``*B`` any batch dimensions, ``A`` actions. ``discount`` is γᵏ over the steps used, 0 where the episode
terminated: a truncated episode keeps its bootstrap.
"""

import torch
from torch import Tensor

from qframe.functional.action import greedy, soft, take
from qframe.functional.backup import affine, weighted_sum


def td_zero(reward: Tensor, discount: Tensor, value: Tensor) -> Tensor:
    """The one-step target ``r + γ · v(s′)``.

    See "Learning to Predict by the Methods of Temporal Differences", Sutton, 1988.

    Args:
        reward: ``[*B]``.
        discount: ``[*B]``; 0 selects the reward alone, whatever ``value`` holds.
        value: bootstrap value of the next state, ``[*B]``.

    >>> td_zero(torch.tensor([1.0, 1.0]), torch.tensor([0.9, 0.0]), torch.tensor([10.0, torch.nan]))
    tensor([10.,  1.])
    """
    return affine(reward, discount, value)


def selected_value(value: Tensor, selector: Tensor, mask: Tensor | None = None) -> Tensor:
    """The value of the action that another set of values prefers, ``q(s, argmax_a q_selector(s, a))``.

    With the online network as selector and the target network as value this is Double DQN; with both the same
    it is the plain maximum. See "Deep Reinforcement Learning with Double Q-learning", van Hasselt et al., 2016,
    equation 4.

    Args:
        value: evaluated values ``[*B, A]``.
        selector: values that select, ``[*B, A]``.
        mask: legal actions, broadcastable to ``selector``.

    Returns:
        ``[*B]``.

    >>> selected_value(torch.tensor([1.0, 2.0]), torch.tensor([5.0, 4.0]))
    tensor(1.)
    """
    return take(value.unsqueeze(-1), greedy(selector, mask)).squeeze(-1)


def soft_value(value: Tensor, temperature: float, mask: Tensor | None = None) -> Tensor:
    """The entropy-regularised state value ``Σ_a π(a|s) · (q(s, a) − τ · log π(a|s))``, π the Boltzmann policy.

    See "Munchausen Reinforcement Learning", Vieillard et al., 2020, equation 1.

    Args:
        value: action values ``[*B, A]``.
        temperature: τ > 0, in units of the values.
        mask: legal actions, broadcastable to ``value``.

    Returns:
        ``[*B]``.

    >>> soft_value(torch.tensor([0.0, 0.0]), 1.0)
    tensor(0.6931)
    """
    policy = soft(value, temperature, mask)
    return weighted_sum(policy.prob, value - temperature * policy.log_prob)


def huber(error: Tensor, threshold: float) -> Tensor:
    """The Huber loss: ``½e²`` where ``|e| ≤ κ``, ``κ·(|e| − ½κ)`` beyond.

    See "Robust Estimation of a Location Parameter", Huber, 1964.

    Args:
        error: any shape.
        threshold: κ > 0, in units of the error.
    """
    size = error.abs()
    return torch.where(size <= threshold, 0.5 * error.square(), threshold * (size - 0.5 * threshold))
