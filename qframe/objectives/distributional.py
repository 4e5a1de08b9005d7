"""The reference library's loss for categorical networks, built on ``DQNLoss``."""

from typing import Literal

from torch import nn

from qframe.objectives.dqn import DQNLoss


class DistributionalDQNLoss(DQNLoss):
    """C51's loss for a network that carries a ``support``: ``DQNLoss`` with the reference library's signature.

    With a target network it is double, as in that library: the online network selects the next action. Joint actions
    are trained by branching, as categorical distributions cannot be added up. See "A Distributional Perspective on
    Reinforcement Learning", Bellemare et al., 2017, algorithm 1.

    Args:
        value_network: a ``DistributionalQValueActor``, or a network with a categorical head.
        gamma: γ.
        delay_value: whether to keep a target network, and with it Double DQN.
        priority_key: where to write the td_error; None is ``td_error``.
        reduction: ``mean``, ``sum`` or ``none``; None is ``mean``.

    Raises:
        ValueError: a network without a support, or a support that is not evenly spaced.
    """

    def __init__(
        self,
        value_network: nn.Module,
        *,
        gamma: float = 0.99,
        delay_value: bool = False,
        priority_key: str | None = None,
        reduction: Literal["mean", "sum", "none"] | None = None,
    ) -> None:
        super().__init__(
            value_network, delay_value=delay_value, double_dqn=delay_value, gamma=gamma, reduction=reduction,
            joint="branching",
        )
        if not hasattr(self.head, "support"):
            raise ValueError("the network has no support; use DQNLoss")
        if priority_key is not None:
            self.set_keys(priority=priority_key)
