"""ε-greedy exploration with a different, constant ε in every environment."""

import torch
from torch import Tensor

from qframe.actions import AnyActionSpace
from qframe.exploration.epsilon_greedy import EGreedyModule


class EGreedyLadder(EGreedyModule):
    """ε-greedy with a constant ``ε_i = ε^(1 + α · i / (E − 1))`` in environment i.

    Some environments explore a lot, some hardly at all. See "Distributed Prioritized Experience
    Replay", Horgan et al., 2018, section 4.1. A single environment uses ε.

    Args:
        action_space: of the environment, or the action's spec.
        epsilon: ε in (0, 1], of the first environment.
        alpha: α ≥ 0; 0 is the same ε everywhere.
        num_envs: E.
        seed: of the draws.

    Raises:
        ValueError: ε outside (0, 1], a negative α, or no environment.

    >>> from qframe.actions import Categorical
    >>> tuple(round(epsilon, 4) for epsilon in EGreedyLadder(Categorical(4), num_envs=3).ladder.tolist())
    (0.4, 0.0162, 0.0007)
    """

    def __init__(
        self, action_space: AnyActionSpace, *, epsilon: float = 0.4, alpha: float = 7.0, num_envs: int, seed: int = 0
    ) -> None:
        if not 0 < epsilon <= 1:
            raise ValueError(f"expected epsilon in (0, 1], got {epsilon}")
        if not alpha >= 0 or num_envs < 1:
            raise ValueError(f"expected alpha of at least 0 and num_envs of at least 1, got {alpha} and {num_envs}")
        super().__init__(action_space, epsilon, epsilon, seed=seed)
        self.ladder = epsilon ** (1 + alpha * torch.arange(num_envs) / max(num_envs - 1, 1))  # [E]

    @property
    def metrics(self) -> dict[str, float]:
        return {"epsilon": self.ladder.mean().item()}

    def _epsilons(self) -> Tensor:
        return self.ladder
