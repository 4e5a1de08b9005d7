"""What a value estimator is given and what it returns: the batch, the values, and which bootstraps to use."""

from typing import NamedTuple, Protocol

from tensordict import TensorDictBase
from torch import Tensor

from qframe.functional.backup import Backup, LambdaBackup


class Batch(NamedTuple):
    """Transitions as the mathematics reads them. ``*B`` any batch dimensions; time, where there is any, is last.

    Of a joint action, ``action`` is ``[D, *B]`` and the masks are ``[D, *B, A]``.
    """

    observation: Tensor | TensorDictBase
    action: Tensor  # [*B], the index of the action taken
    reward: Tensor  # [*B]
    discount: Tensor  # [*B], γᵏ over the steps used, 0 where the episode terminated
    next_observation: Tensor | TensorDictBase
    done: Tensor  # [*B], True where the episode ended, terminated or truncated
    mask: Tensor | None = None  # [*B, A], legal actions now
    next_mask: Tensor | None = None  # [*B, A], legal actions next
    priority_weight: Tensor | None = None  # [*B]
    action_probability: Tensor | None = None  # [*B], of the action taken under the behaviour policy
    bootstrap_mask: Tensor | None = None  # [*B, K], which members of an ensemble learn from a transition


class Values(NamedTuple):
    """The action values an estimator may look at."""

    selector: Tensor  # [*B, A], of the next state: what selects there (the online network's for double)
    target: Tensor  # [*B, A], of the next state, by the target network
    target_now: Tensor | None = None  # [*B, A], of this state, by the target network


class Bootstrap(NamedTuple):
    """Which next action's prediction to bootstrap on, and how. ``action`` None: on all actions, K = A."""

    action: Tensor | None  # [*B], an index
    backup: Backup | LambdaBackup


class ValueEstimator(Protocol):
    """What the loss asks of an estimator.

    ``requires`` is a subset of ``next_online`` (select with the online network), ``target_now`` (the target
    network's values of this state), ``target_policy`` (the target network selects: no Double DQN),
    ``behaviour_probability`` (stored with each action), ``next_action`` (the action taken next), ``all_actions`` (it
    bootstraps on all actions, weighted by a policy), ``mean_target`` (only the target's mean is right: a head that
    learns no law) and ``time`` (a time dimension, last).
    """

    @property
    def requires(self) -> frozenset[str]: ...

    def __call__(self, batch: Batch, values: Values) -> Bootstrap: ...
