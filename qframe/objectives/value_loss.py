"""What a loss of action values is set up with: the names it reads under, γ, and its value estimator."""

from abc import ABC, abstractmethod
from typing import Any, ClassVar, NamedTuple

from tensordict import unravel_key
from torch import nn

from qframe.estimators.factory import ValueEstimators, make_estimator
from qframe.estimators.protocol import ValueEstimator
from qframe.heads import Head
from qframe.keys import NestedKey
from qframe.objectives.q_learning import JointAction


class BatchKeys(NamedTuple):
    """Where a loss finds what it reads and writes priorities. Keys of the next step live under ``"next"``."""

    action: NestedKey = "action"
    reward: NestedKey = "reward"
    done: NestedKey = "done"
    terminated: NestedKey = "terminated"
    truncated: NestedKey = "truncated"
    action_mask: NestedKey = "action_mask"
    priority_weight: NestedKey = "priority_weight"
    steps_to_next_obs: NestedKey = "steps_to_next_obs"
    priority: NestedKey = "td_error"


class ValueLoss(nn.Module, ABC):
    """A loss with named entries and a value estimator that can be changed.

    Args:
        gamma: γ, for batches without ``("next", "discount")``.

    Raises:
        ValueError: γ outside [0, 1].
    """

    keys = BatchKeys()
    next_keys: BatchKeys
    double_dqn: bool
    _joint: JointAction
    refused_words: ClassVar[dict[str, str]] = {}
    """What an estimator of this loss may not require, and why."""
    estimator: ValueEstimator
    value_type: Any

    def __init__(self, *, gamma: float) -> None:
        super().__init__()
        self.set_keys()
        self.gamma = _checked_gamma(gamma)
        self._hyperparams: dict[str, Any] = {}

    @property
    @abstractmethod
    def head(self) -> Head[Any]:
        """The head that interprets the network's predictions."""

    @property
    def in_keys(self) -> list[NestedKey]:
        """The keywords of a call, in fixed order, as tensordict keys."""
        following = self.next_keys
        next_entries = [following.reward, following.done, following.terminated]
        return ["observation", ("next", "observation"), self.keys.action, *next_entries]

    def set_keys(self, **keys: NestedKey) -> None:
        """Read and write under other names; those of ``BatchKeys``.

        Raises:
            ValueError: a name that the loss does not have.
        """
        unknown = set(keys) - set(BatchKeys._fields)
        if unknown:
            raise ValueError(f"expected keys among {', '.join(BatchKeys._fields)}, got {', '.join(sorted(unknown))}")
        self.keys = self.keys._replace(**keys)
        self.next_keys = BatchKeys(*(unravel_key(("next", key)) for key in self.keys))

    def make_value_estimator(
        self, value_type: ValueEstimators | str | ValueEstimator | type | None = None, **hyperparams: Any
    ) -> None:
        """Choose the value estimator; hyperparameters that are not repeated are kept, γ among them.

        Args:
            value_type: a ``ValueEstimators`` member or its name, an estimator's class, or an estimator. None keeps the
                present one.
            **hyperparams: ``gamma``, and what the estimator's constructor takes.

        Raises:
            ValueError: an estimator or a hyperparameter that this loss cannot use.

        >>> import torch
        >>> from qframe.estimators import ValueEstimators
        >>> from qframe.objectives import DQNLoss
        >>> # initialize the DQN loss
        >>> actor = torch.nn.Linear(3, 4)
        >>> dqn_loss = DQNLoss(actor, action_space="one-hot")
        >>> # updating the parameters of the default value estimator
        >>> dqn_loss.make_value_estimator(gamma=0.9)
        >>> dqn_loss.make_value_estimator(
        ...     ValueEstimators.TD1,
        ...     gamma=0.9)
        >>> # if we want to change the gamma value
        >>> dqn_loss.make_value_estimator(dqn_loss.value_type, gamma=0.9)
        """
        gamma = _checked_gamma(hyperparams.pop("gamma", self.gamma))
        value_type = self.value_type if value_type is None else value_type
        estimator = make_estimator(value_type, hyperparams, self._hyperparams)
        self._check_estimator(estimator)
        self.gamma, self.estimator, self.value_type = gamma, estimator, value_type
        self._hyperparams |= hyperparams

    def _check_estimator(self, estimator: ValueEstimator) -> None:
        name, head, requires = type(estimator).__name__, type(self.head).__name__, estimator.requires
        if "time" in requires and not self.head.supports_lambda:
            raise ValueError(f"expected an estimator without a time dimension for {head}, got {name}; use TD0")
        if "target_policy" in requires and self.double_dqn:
            raise ValueError(
                f"expected double_dqn=False with {name}, whose policy is the target network's, got True; use loss=dqn"
            )
        for word in sorted(requires & self.refused_words.keys()):
            raise ValueError(f"expected another estimator than {name} for this loss: {self.refused_words[word]}")
        if "mean_target" in requires and not self.head.targets_mean:
            raise ValueError(
                f"expected a head that learns mean returns with {name} and a soft policy, whose mixture has negative "
                f"weights, got {head}; use temperature=null (the greedy policy) or a scalar head"
            )
        for word, reason in self._joint.refused.items():
            if word in requires:
                raise ValueError(f"expected another estimator than {name} for the joint actions of this loss: {reason}")


def _checked_gamma(gamma: float) -> float:
    if not 0 <= gamma <= 1:
        raise ValueError(f"expected gamma between 0 and 1, got {gamma}")
    return gamma
