"""Value estimators that run along time: returns over several steps, mixed by λ and cut by traces.

``G_t = r_t + γ_t · [v_{t+1} + c_{t+1} · (G_{t+1} − b_{t+1})]``: they differ in the trace c and the baseline b. Shapes:
``*B`` any batch dimensions, ``T`` time (the last of them), ``A`` actions. A slice may hold several episodes: the trace
is 0 where one ends, and at the slice's last step it is not read.
"""

import torch
from torch import Tensor

from qframe.estimators.protocol import Batch, Bootstrap, Values
from qframe.functional.action import greedy, mask_values, soft, take
from qframe.functional.backup import LambdaBackup, weighted_sum


class TDLambda:
    """Peng's Q(λ): ``G_t = r_t + γ · [(1 − λ) · max_a q(s_{t+1}, a) + λ · G_{t+1}]`` to the end of the slice.

    See "Incremental Multi-Step Q-Learning", Peng and Williams, 1996, section 3.

    Args:
        lambda_: λ in [0, 1]: 0 is TD0, 1 is TD1.

    Raises:
        ValueError: λ outside [0, 1].
    """

    requires: frozenset[str] = frozenset({"time"})

    def __init__(self, *, lambda_: float = 0.95) -> None:
        if not 0 <= lambda_ <= 1:
            raise ValueError(f"expected lambda_ between 0 and 1, got {lambda_}")
        self.lambda_ = lambda_

    def __call__(self, batch: Batch, values: Values) -> Bootstrap:
        action = greedy(values.selector, batch.next_mask)  # [*B, T]
        return Bootstrap(action, LambdaBackup(batch.reward, batch.discount, self.trace(batch, values)))

    def trace(self, batch: Batch, values: Values) -> Tensor:
        """c of the step after each, ``[*B, T]``; 0 where the episode ends."""
        return torch.where(batch.done, 0.0, torch.full_like(batch.reward, self.lambda_))


class TD1(TDLambda):
    """The Monte Carlo return to the end of the slice or the episode, then one bootstrap: λ = 1.

    See "Reinforcement Learning: An Introduction", Sutton and Barto, 2018, section 12.1.
    """

    def __init__(self) -> None:
        super().__init__(lambda_=1.0)


class WatkinsQLambda(TDLambda):
    """Watkins's Q(λ): the λ-return up to the first action that is not greedy, ``c = λ · 1[a greedy]``.

    Greedy under the values that select (the online network's with Double DQN); every tied action counts. See "Learning
    from Delayed Rewards", Watkins, 1989, and "Reinforcement Learning: An Introduction", Sutton and Barto, 1998, section
    7.6.

    Args:
        lambda_: λ in [0, 1].

    Raises:
        ValueError: λ outside [0, 1].
    """

    requires: frozenset[str] = frozenset({"time", "next_action"})

    def trace(self, batch: Batch, values: Values) -> Tensor:
        return torch.where(_has_next(batch), self.lambda_ * _is_greedy(values.selector, batch), 0.0)


class Retrace(TDLambda):
    """Retrace(λ): ``c = λ · min(1, π(a|s) / μ(a|s))``, ``b = q(s, a)``, ``v = Σ_a π(a|s) · q(s, a)``.

    μ is the behaviour policy's probability of the action, as the collector stored it. The target policy π is greedy,
    which makes this Watkins's Q(λ), or the Boltzmann policy of the values that select; then only the mean of the
    target is right, and heads that learn a distribution are refused. See "Safe and Efficient Off-Policy Reinforcement
    Learning", Munos et al., 2016, equations 3 and 4.

    Args:
        lambda_: λ in [0, 1].
        temperature: of the Boltzmann policy, > 0, in units of the return; None is the greedy policy.

    Raises:
        ValueError: λ outside [0, 1], or a temperature that is not above 0.
    """

    def __init__(self, *, lambda_: float = 0.95, temperature: float | None = None) -> None:
        super().__init__(lambda_=lambda_)
        if temperature is not None and not temperature > 0:
            raise ValueError(f"expected temperature above 0, or null for the greedy policy, got {temperature}")
        self.temperature = temperature
        of_soft_policy = frozenset({"all_actions", "mean_target"} if temperature is not None else ())
        self.requires = frozenset({"time", "next_action", "behaviour_probability"}) | of_soft_policy

    def __call__(self, batch: Batch, values: Values) -> Bootstrap:
        if self.temperature is None:
            return super().__call__(batch, values)
        policy, trace = soft(values.selector, self.temperature, batch.next_mask).prob, self.trace(batch, values)
        # v + c · (G − b) = (1 − c) · v + c · G + c · (v − b): the last term is known, and moves into the reward.
        correction = weighted_sum(policy, values.target) - _of_next_action(values.target, batch)
        decay = batch.discount * trace
        correction = torch.where(decay == 0, 0.0, decay * correction)
        return Bootstrap(None, LambdaBackup(batch.reward + correction, batch.discount, trace, policy))

    def trace(self, batch: Batch, values: Values) -> Tensor:
        assert batch.action_probability is not None
        target = self._probability_of_next_action(batch, values)
        ratio = torch.where(target == 0, 0.0, target / batch.action_probability.roll(-1, -1))
        return torch.where(_has_next(batch), self.lambda_ * ratio.clamp(max=1.0), 0.0)

    def _probability_of_next_action(self, batch: Batch, values: Values) -> Tensor:
        """π(a|s) of the next step, ``[*B, T]``; the greedy policy takes any of several best actions."""
        if self.temperature is None:
            return _is_greedy(values.selector, batch)
        return _of_next_action(soft(values.selector, self.temperature, batch.next_mask).prob, batch)


def _has_next(batch: Batch) -> Tensor:
    """Whether the next step of the slice belongs to the same episode, ``[*B, T]``."""
    last = torch.arange(batch.done.shape[-1], device=batch.done.device) == batch.done.shape[-1] - 1
    return ~batch.done & ~last


def _is_greedy(selector: Tensor, batch: Batch) -> Tensor:
    """1 where the action of the next step is among the best of its state, else 0, ``[*B, T]``."""
    value = mask_values(selector, batch.next_mask)
    return (_of_next_action(value, batch) == value.amax(-1)).to(selector.dtype)


def _of_next_action(value: Tensor, batch: Batch) -> Tensor:
    """The entry of the action taken at the next step, ``[*B, T, A]`` → ``[*B, T]``; the last step has none to use."""
    return take(value.unsqueeze(-1), batch.action.roll(-1, -1)).squeeze(-1)
