"""The scalar head of DQN: one expected return per action."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from qframe.functional.backup import Backup, LambdaBackup, Law, weighted_sum
from qframe.functional.returns import lambda_return
from qframe.heads.base import Head, Prediction

LOSSES: dict[str, Callable[..., Tensor]] = {"l2": F.mse_loss, "l1": F.l1_loss, "smooth_l1": F.smooth_l1_loss}
"""The losses of a scalar error e: e², |e|, and ½e² below 1 with |e| − ½ above."""


class ScalarHead(Head[Tensor]):
    """One expected return per action, ``q(s, a)``; its target is a number ``[*B]``.

    See "Human-level control through deep reinforcement learning", Mnih et al., 2015.

    Args:
        features: size of the features that the network emits; None: the head owns no layer.
        num_actions: A.
        loss_function: ``l2`` (e²), ``l1`` (|e|) or ``smooth_l1`` (Huber with threshold 1).
        transform: of returns: ``none`` or ``h``.

    Raises:
        ValueError: an unknown loss function or transform.
    """

    targets_mean = True

    def __init__(
        self, features: int | None, num_actions: int, *, loss_function: str = "l2", transform: str = "none"
    ) -> None:
        super().__init__(features, num_actions, num_outputs=1, transform=transform)
        if loss_function not in LOSSES:
            raise ValueError(f"expected loss_function to be one of {', '.join(LOSSES)}, got {loss_function!r}")
        self.loss_function = loss_function

    def prediction(self, features: Tensor, taus: Tensor | None = None) -> Prediction:
        layer = self.precise if torch._C._is_any_autocast_enabled() else self.layer
        return Prediction(layer(features).unsqueeze(-1))  # [*B, A, 1]

    def law(self, prediction: Prediction) -> Law:
        return Law(prediction.out, torch.ones_like(prediction.out))

    def project(self, law: Law) -> Tensor:
        return law.mean

    def value(self, prediction: Prediction) -> Tensor:
        return prediction.out.squeeze(-1) if self.transform is None else super().value(prediction)

    def target(self, bootstrap: Prediction, backup: Backup) -> Tensor:
        if self.transform is not None:
            return super().target(bootstrap, backup)
        value = backup.reward + backup.discount * bootstrap.out.squeeze(-1)
        value = torch.where(backup.discount.logical_not(), backup.reward, value)
        return value if backup.weight is None else weighted_sum(backup.weight, value)

    def lambda_target(self, bootstrap: Prediction, backup: LambdaBackup) -> Tensor:
        if self.transform is not None:
            return super().lambda_target(bootstrap, backup)
        value = bootstrap.out.squeeze(-1)
        value = value if backup.weight is None else weighted_sum(backup.weight, value)  # [*B, T]
        return lambda_return(backup.reward, backup.discount, value, backup.trace)

    def loss(self, prediction: Prediction, target: Tensor) -> tuple[Tensor, Tensor]:
        value = prediction.out.squeeze(-1)
        goal = target if target.shape == value.shape else target.expand_as(value)
        return LOSSES[self.loss_function](value, goal, reduction="none"), target - value
