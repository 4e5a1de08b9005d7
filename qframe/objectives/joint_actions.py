"""Joint actions in the loss: how the branches of an action make one target, and one error.

Branches come in front of all other dimensions, so every other part of the loss sees a batch. Shapes: ``D`` branches,
``*B`` any batch dimensions (``T`` time, the last of them), ``K`` bootstraps mixed into one, ``N`` outputs per action.
"""

from typing import ClassVar

import torch
from torch import Tensor

from qframe.functional.backup import Backup, LambdaBackup
from qframe.heads import Prediction
from qframe.objectives.q_learning import OneAction


class BranchingAction(OneAction):
    """Every branch values the whole action: all learn the mean target, and losses are averaged over branches.

    ``y = r + γ · 1/D · Σ_d z_d(s′, argmax_a q_d(s′, a))``, the mixture of the branches' distributions. A trace along
    time ends where it ends in any branch. See "Action Branching Architectures for Deep Reinforcement Learning",
    Tavakoli et al., 2018, equations 4 to 6.
    """

    refused: ClassVar[dict[str, str]] = {
        "mean_target": "exploration acts in all branches at once, so its probability has no branches; use "
        "temperature=null (the greedy policy)"
    }

    def backup(self, bootstrap: Prediction, backup: Backup) -> tuple[Prediction, Backup]:
        weight = _of_branches(bootstrap, backup.weight)  # [D, *B, K]
        reward, discount = backup.reward, backup.discount
        if backup.weight is None:
            reward, discount = reward.unsqueeze(-1), discount.unsqueeze(-1)
        shares = (_folded(x.expand_as(weight)) for x in (reward, discount, weight))  # [*B, D·K]
        return _mixed(bootstrap, backup.weight is None), Backup(*shares)

    def lambda_backup(self, bootstrap: Prediction, backup: LambdaBackup) -> tuple[Prediction, LambdaBackup]:
        weight = _folded(_of_branches(bootstrap, backup.weight))  # [*B, T, D·K]
        return _mixed(bootstrap, backup.weight is None), backup._replace(trace=_trace(backup), weight=weight)

    def mean(self, x: Tensor) -> Tensor:
        return x.mean(0)


class SummedAction(OneAction):
    """The value of an action is the sum over its branches; of quantiles, level by level (a comonotone sum).

    ``q(s, a) = Σ_d q_d(s, a_d)`` and ``y = r + γ · Σ_d z_d(s′, argmax_a q_d(s′, a))``. See "Value-Decomposition
    Networks For Cooperative Multi-Agent Learning", Sunehag et al., 2018, section 3.
    """

    refused: ClassVar[dict[str, str]] = {
        "all_actions": "its policy weighs every combination of branches; use joint=branching"
    }

    def taken(self, prediction: Prediction) -> Prediction:
        return Prediction(prediction.out.sum(0), prediction.taus)

    def backup(self, bootstrap: Prediction, backup: Backup) -> tuple[Prediction, Backup]:
        return self.taken(bootstrap), backup

    def lambda_backup(self, bootstrap: Prediction, backup: LambdaBackup) -> tuple[Prediction, LambdaBackup]:
        return self.taken(bootstrap), backup._replace(trace=_trace(backup))


class AveragedAction(SummedAction):
    """The value of an action is the mean over its branches, ``q(s, a) = 1/D · Σ_d q_d(s, a_d)``, in the target as well.

    See "Solving Continuous Control via Q-learning", Seyde et al., 2023, equations 2 and 3 (DecQN).
    """

    def taken(self, prediction: Prediction) -> Prediction:
        return Prediction(prediction.out.mean(0), prediction.taus)


JOINT: dict[str, type[OneAction]] = {"branching": BranchingAction, "sum": SummedAction, "mean": AveragedAction}
"""The ways to train a joint action, by name."""


def _of_branches(bootstrap: Prediction, weight: Tensor | None) -> Tensor:
    """The weight of each bootstrap among all branches' ``[D, *B, K]``, K = 1 where an action was chosen."""
    branches = len(bootstrap.out)
    if weight is None:
        return torch.full_like(bootstrap.out[..., :1], 1.0 / branches)
    return weight / branches


def _mixed(bootstrap: Prediction, is_chosen: bool) -> Prediction:
    """Outputs as the mixture's components, ``[D, *B, N]`` or ``[D, *B, K, N]`` → ``[*B, D·K, N]``."""
    out, taus = bootstrap
    if is_chosen:
        out, taus = out.unsqueeze(-2), None if taus is None else taus.unsqueeze(-2)  # [D, *B, 1, N], [*B, 1, N]
    return Prediction(out.movedim(0, -3).flatten(-3, -2), taus)


def _folded(x: Tensor) -> Tensor:
    """``[D, *B, K]`` → ``[*B, D·K]``."""
    return x.movedim(0, -2).flatten(-2)


def _trace(backup: LambdaBackup) -> Tensor:
    """The trace of the whole action, ``[*B, T]``: it ends where it ends in any branch."""
    return backup.trace if backup.trace.dim() == backup.reward.dim() else backup.trace.amin(0)
