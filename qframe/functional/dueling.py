"""The dueling aggregation of a state value and advantages."""

import torch
from torch import Tensor


def dueling(state_value: Tensor, advantage: Tensor, real: Tensor | None = None) -> Tensor:
    """The dueling aggregation ``q = v + a − mean_a a``.

    See "Dueling Network Architectures for Deep Reinforcement Learning", Wang et al., 2016, equation 9; for branches
    "Action Branching Architectures for Deep Reinforcement Learning", Tavakoli et al., 2018, equation 1.

    Args:
        state_value: ``[*B, N]``.
        advantage: ``[*B, A, N]``, or ``[D, *B, A, N]`` for branches.
        real: which actions are not padding, broadcastable to ``[D, *B, A]``; None: all are.

    Returns:
        ``[*B, A, N]``.

    >>> dueling(torch.tensor([10.0]), torch.tensor([[1.0], [3.0]])).flatten()
    tensor([ 9., 11.])
    """
    if real is None:
        return state_value.unsqueeze(-2) + advantage - advantage.mean(-2, keepdim=True)
    real = real.unsqueeze(-1)  # [D, *B, A, 1]
    mean = torch.where(real, advantage, 0.0).sum(-2, keepdim=True) / real.sum(-2, keepdim=True)
    return state_value.unsqueeze(-2) + advantage - mean
