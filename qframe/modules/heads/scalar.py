"""The scalar head of DQN: one expected return per action."""

import torch
from torch import Tensor

from qframe.functional import Backup, LambdaBackup, Law, affine, distance, lambda_return
from qframe.modules.heads.base import Head, Prediction


class ScalarHead(Head[Tensor]):
    """One expected return per action, ``q(s, a)``; its target is a number ``[*B]``.

    See "Human-level control through deep reinforcement learning", Mnih et al., 2015.

    Args:
        features: size of the features that the network emits; None: the head owns no layer.
        num_actions: A.
        loss_function: ``l2`` (e²), ``l1`` (|e|) or ``smooth_l1`` (Huber with threshold 1).

    Raises:
        ValueError: an unknown loss function.
    """

    def __init__(self, features: int | None, num_actions: int, *, loss_function: str = "l2") -> None:
        super().__init__(features, num_actions, num_outputs=1)
        distance(torch.zeros(()), loss_function)  # refuses an unknown name now
        self.loss_function = loss_function

    def law(self, prediction: Prediction) -> Law:
        return Law(prediction.out, torch.ones_like(prediction.out))

    def project(self, law: Law) -> Tensor:
        return law.mean

    def value(self, prediction: Prediction) -> Tensor:
        return prediction.out.squeeze(-1)

    def target(self, bootstrap: Prediction, backup: Backup) -> Tensor:
        value = affine(backup.reward, backup.discount, bootstrap.out.squeeze(-1))
        return value if backup.weight is None else (backup.weight * value).sum(-1)

    def lambda_target(self, bootstrap: Prediction, backup: LambdaBackup) -> Tensor:
        return lambda_return(backup.reward, backup.discount, bootstrap.out.squeeze(-1), backup.trace)

    def loss(self, prediction: Prediction, target: Tensor) -> tuple[Tensor, Tensor]:
        td_error = target - prediction.out.squeeze(-1)
        return distance(td_error, self.loss_function), td_error
