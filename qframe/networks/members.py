"""The members of an ensemble: several estimates of the same action values, each with a target of its own."""

from typing import ClassVar

from torch import Tensor

from qframe.functional.backup import Backup, LambdaBackup
from qframe.heads import Prediction


class Members:
    """K members as a batch dimension in front of all others, ``[K, *B, A, N]``.

    This dimension replaces that of a joint action's branches: a transition's entries broadcast over the members,
    every member bootstraps on its own target, and losses and errors are averaged over them. See "Deep Exploration via
    Bootstrapped DQN", Osband et al., 2016, section 3.

    Args:
        num_members: K ≥ 2.

    Raises:
        ValueError: fewer than two members.

    >>> import torch
    >>> Members(2).join(torch.tensor([[[0.0, 1.0]], [[4.0, 0.0]]]))
    tensor([[2.0000, 0.5000]])
    """

    refused: ClassVar[dict[str, str]] = {}
    has_bonus: ClassVar[bool] = False
    """Whether the second member learns from a reward of its own."""

    def __init__(self, num_members: int) -> None:
        if num_members < 2:
            raise ValueError(f"expected num_members of at least 2, got {num_members}; for one, use network=q_net")
        self.num_members = num_members

    def split(self, out: Tensor) -> Tensor:
        """The outputs of all members side by side, ``[*B, K·A, N]`` → ``[K, *B, A, N]``."""
        return out.unflatten(-2, (self.num_members, -1)).movedim(-3, 0)

    def join(self, value: Tensor) -> Tensor:
        """The mean of the members' action values, ``[K, *B, A]`` → ``[*B, A]``."""
        return value.mean(0)

    acting_value = join

    def split_index(self, index: Tensor) -> Tensor:
        """The action taken, for every member, ``[*B]`` → ``[K, *B]``."""
        return index.expand(self.num_members, *index.shape)

    def taken(self, prediction: Prediction) -> Prediction:
        """Every member's own prediction is compared with its own target."""
        return prediction

    def backup(self, bootstrap: Prediction, backup: Backup) -> tuple[Prediction, Backup]:
        """Every member bootstraps on its own target network's outputs."""
        return bootstrap, backup

    def lambda_backup(self, bootstrap: Prediction, backup: LambdaBackup) -> tuple[Prediction, LambdaBackup]:
        """The same along time: each member has its own trace."""
        shape = self.num_members, *backup.reward.shape  # [K, *B, T]
        reward, discount, trace = (x.expand(shape) for x in (backup.reward, backup.discount, backup.trace))
        return bootstrap, backup._replace(reward=reward, discount=discount, trace=trace)

    def mean(self, x: Tensor) -> Tensor:
        """The mean over members, ``[K, *B]`` → ``[*B]``."""
        return x.mean(0)


class Returns(Members):
    """Two members with rewards of their own: the return of the environment, and that of a bonus for novelty.

    Each bootstraps on the greedy policy of its own return. Actors are greedy for the sum; evaluation and exported
    policies for the environment's return alone. Rewards come as ``[2, *B]``. See "Exploration by Random Network
    Distillation", Burda et al., 2018, section 2.3, which combines two value heads.

    >>> import torch
    >>> value = torch.tensor([[[1.0, 0.0]], [[0.0, 3.0]]])
    >>> Returns().join(value), Returns().acting_value(value)
    (tensor([[1., 0.]]), tensor([[1., 3.]]))
    """

    has_bonus = True

    def __init__(self) -> None:
        super().__init__(2)

    def join(self, value: Tensor) -> Tensor:
        """The values of the environment's return, ``[2, *B, A]`` → ``[*B, A]``."""
        return value[0]

    def acting_value(self, value: Tensor) -> Tensor:
        """The values of both returns together, ``[2, *B, A]`` → ``[*B, A]``."""
        return value.sum(0)

    def backup(self, bootstrap: Prediction, backup: Backup) -> tuple[Prediction, Backup]:
        """Every return has its own reward, and both end with the episode."""
        return bootstrap, backup._replace(discount=backup.discount.expand_as(backup.reward))

    def lambda_backup(self, bootstrap: Prediction, backup: LambdaBackup) -> tuple[Prediction, LambdaBackup]:
        """The same along time."""
        discount, trace = (x.expand_as(backup.reward) for x in (backup.discount, backup.trace))
        return bootstrap, backup._replace(discount=discount, trace=trace)
