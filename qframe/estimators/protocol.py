"""The data of value estimators: ``Batch`` and ``Values`` go in, a ``Bootstrap`` comes out."""

from typing import NamedTuple, Protocol

from tensordict import TensorDictBase
from torch import Tensor

from qframe.functional.backup import Backup, LambdaBackup


class Batch(NamedTuple):
    """Transitions as plain tensors. ``*B`` are any batch dimensions; time, if any, is the last.

    For a joint action, ``action`` is ``[D, *B]`` and masks are ``[D, *B, A]``.
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
    loss_mask: Tensor | None = None  # [*B], False at the padding of a sequence
    next_prediction: Tensor | None = None  # [*B, A, N], of the next observation; None: the target network predicts it


class Values(NamedTuple):
    """The action values that an estimator may use."""

    selector: Tensor  # [*B, A], of the next state, to select its action (the online network's with Double DQN)
    target: Tensor  # [*B, A], of the next state, by the target network
    target_now: Tensor | None = None  # [*B, A], of this state, by the target network


class Bootstrap(NamedTuple):
    """The next action to bootstrap on, and how. ``action`` None: bootstrap on all actions, K = A."""

    action: Tensor | None  # [*B], an index
    backup: Backup | LambdaBackup


class ValueEstimator(Protocol):
    """A value estimator, as the loss calls it.

    ``requires`` is a subset of ``next_online`` (select with the online network), ``target_now`` (the target
    network's values of this state), ``target_policy`` (the target network selects: no Double DQN),
    ``behaviour_probability`` (stored with each action), ``next_action`` (the action taken next), ``all_actions`` (it
    bootstraps on all actions, weighted by a policy), ``mean_target`` (only the target's mean is right, so the
    head must learn means) and ``time`` (a time dimension, last).
    """

    @property
    def requires(self) -> frozenset[str]: ...

    def __call__(self, batch: Batch, values: Values) -> Bootstrap: ...
