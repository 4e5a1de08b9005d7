"""Value estimators with a Boltzmann policy as their target: soft Q-learning and Munchausen.

Shapes: ``*B`` any batch dimensions, ``A`` actions.
"""

import torch

from qframe.estimators.protocol import Batch, Bootstrap, Values
from qframe.functional.action import soft, take
from qframe.functional.backup import Backup


class SoftTD0:
    """The soft target ``r + γ · Σ_a′ π(a′|s′) · [z(s′, a′) − τ · log π(a′|s′)]``, π the Boltzmann policy of q(s′, ·).

    For a distributional head the target is the mixture of all actions' distributions. See "Reinforcement Learning with
    Deep Energy-Based Policies", Haarnoja et al., 2017, theorem 1, and "Munchausen Reinforcement Learning", Vieillard et
    al., 2020, equation 1.

    Args:
        temperature: τ > 0, in units of the return.

    Raises:
        ValueError: τ not above 0.
    """

    requires: frozenset[str] = frozenset({"all_actions"})

    def __init__(self, *, temperature: float = 0.03) -> None:
        if not temperature > 0:
            raise ValueError(f"expected temperature above 0, got {temperature}; use TD0 for the greedy target")
        self.temperature = temperature

    def __call__(self, batch: Batch, values: Values) -> Bootstrap:
        policy = soft(values.selector, self.temperature, batch.next_mask)  # [*B, A]
        discount = batch.discount.unsqueeze(-1).expand_as(policy.prob)
        # Where nothing is bootstrapped there need not be a legal action, nor a finite value: any weights will do.
        weight = torch.where(discount == 0, 1.0 / policy.prob.shape[-1], policy.prob)
        entropy = torch.where((discount == 0) | (weight == 0), 0.0, -self.temperature * policy.log_prob)
        return Bootstrap(None, Backup(batch.reward.unsqueeze(-1) + discount * entropy, discount, weight))


class Munchausen(SoftTD0):
    """Munchausen's target: the soft one, with ``α · clip(τ · log π(a|s), l₀, 0)`` added to the reward.

    π is the Boltzmann policy of the target network, in both states. With n steps the bonus is that of the first. See
    "Munchausen Reinforcement Learning", Vieillard et al., 2020, equation 2 and appendix B.1.

    Args:
        alpha: α in [0, 1]; 0 is ``SoftTD0``.
        temperature: τ > 0, in units of the return.
        clip_value_min: l₀ ≤ 0, in units of the return.

    Raises:
        ValueError: an argument is out of its range.
    """

    requires: frozenset[str] = frozenset({"all_actions", "target_now", "target_policy"})

    def __init__(self, *, alpha: float = 0.9, temperature: float = 0.03, clip_value_min: float = -1.0) -> None:
        super().__init__(temperature=temperature)
        if not 0 <= alpha <= 1:
            raise ValueError(f"expected alpha between 0 and 1, got {alpha}")
        if not clip_value_min <= 0:
            raise ValueError(f"expected clip_value_min of at most 0, got {clip_value_min}")
        self.alpha, self.clip_value_min = alpha, clip_value_min

    def __call__(self, batch: Batch, values: Values) -> Bootstrap:
        assert values.target_now is not None
        log_prob = soft(values.target_now, self.temperature, batch.mask).log_prob
        taken = take(log_prob.unsqueeze(-1), batch.action).squeeze(-1)  # [*B]
        bonus = self.alpha * (self.temperature * taken).clamp(self.clip_value_min, 0.0)
        return super().__call__(batch._replace(reward=batch.reward + bonus), values)
