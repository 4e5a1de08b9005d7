"""Q-learning as pure functions: the target and the loss.

One target and one loss serve every head and every estimator: an estimator says which bootstraps, a head says what they
mean. Shapes: ``*B`` any batch dimensions, time last if any, ``A`` actions, ``N`` outputs per action. The branches of a
joint action are a batch dimension in front of values, masks and indices: ``[D, *B, A]``.
"""

from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple, Protocol

import torch
from torch import Tensor

from qframe.estimators.protocol import Batch, ValueEstimator, Values
from qframe.functional.action import take
from qframe.functional.backup import Backup, LambdaBackup
from qframe.heads import Head, Prediction

Predict = Callable[..., Prediction]


class Noise(NamedTuple):
    """Everything random in each forward pass, drawn outside the mathematics; None if nothing is random.

    Each is its network's second argument: quantile levels ``[*B, N]`` or a ``PassNoise``.
    """

    online: Any = None
    target: Any = None
    selector: Any = None


class JointAction(Protocol):
    """How the branches of an action make one target and one loss."""

    refused: ClassVar[dict[str, str]]

    def taken(self, prediction: Prediction) -> Prediction:
        """The prediction that is compared with the target, from the taken action's ``[D, *B, N]``."""
        ...

    def backup(self, bootstrap: Prediction, backup: Backup) -> tuple[Prediction, Backup]:
        """One target of all branches, from bootstraps ``[D, *B, N]`` or ``[D, *B, K, N]``."""
        ...

    def lambda_backup(self, bootstrap: Prediction, backup: LambdaBackup) -> tuple[Prediction, LambdaBackup]:
        """The same along time, from ``[D, *B, T, N]`` or ``[D, *B, T, K, N]``."""
        ...

    def mean(self, x: Tensor) -> Tensor:
        """The loss or error of a transition, ``[*B]``, from those of the branches, ``[D, *B]``."""
        ...


class OneAction:
    """A plain action, without branches: everything stays as it is."""

    refused: ClassVar[dict[str, str]] = {}
    """Entries of an estimator's ``requires`` that this action cannot serve, with the reasons."""

    def taken(self, prediction: Prediction) -> Prediction:
        return prediction

    def backup(self, bootstrap: Prediction, backup: Backup) -> tuple[Prediction, Backup]:
        return bootstrap, backup

    def lambda_backup(self, bootstrap: Prediction, backup: LambdaBackup) -> tuple[Prediction, LambdaBackup]:
        return bootstrap, backup

    def mean(self, x: Tensor) -> Tensor:
        return x


ONE_ACTION = OneAction()


def dqn_target(
    head: Head[Any],
    selector: Predict | None,
    target: Predict,
    batch: Batch,
    noise: Noise,
    estimator: ValueEstimator,
    *,
    joint: JointAction = ONE_ACTION,
) -> Any:
    """The target of every transition: the estimator says which bootstraps, the head says what they mean.

    With a scalar head, one-step targets and no masks it amounts to three lines::

        next_values = target(batch.next_observation)  # [B, A], q(s′, ·) by the target network
        best = next_values.max(-1).values  # [B]
        return batch.reward + batch.discount * best  # [B]; discount is γ, or 0 where the episode terminated

    The mask of the next state enters in the estimator, which alone selects next actions: ``TD0`` takes
    ``greedy(selector, batch.next_mask)``, and soft policies give illegal actions no weight. The predictions themselves
    are read unmasked.

    Args:
        head: interprets predictions.
        selector: the network that selects next actions, ``(observation, noise) → Prediction``: the online one for
            Double DQN. None: the target network does.
        target: the network that evaluates them.
        batch: transitions ``[*B]``.
        noise: everything random in the forward passes.
        estimator: the value estimator.
        joint: how the branches of a joint action make one target.

    Returns:
        The target, of the type that ``head.loss`` takes.
    """
    if batch.next_prediction is None:
        bootstrap = target(batch.next_observation, noise.target)  # [*B, A, N]
    else:
        bootstrap = Prediction(batch.next_prediction)
    if (predicted := bootstrap.out.shape[-2 - batch.reward.dim() : -2]) != batch.reward.shape:
        raise _unequal(predicted, batch.reward.shape)
    value = head.value(bootstrap)
    select = value if selector is None else head.value(selector(batch.next_observation, noise.selector))
    now = None
    if "target_now" in estimator.requires:
        now = head.value(target(batch.observation, noise.target))
    action, backup = estimator(batch, Values(select, value, now))
    if action is not None:
        bootstrap = of_action(bootstrap, action)
    of_branches: Callable[..., tuple[Prediction, Any]] = joint.backup
    make_target: Callable[..., Any] = head.target
    if "time" in estimator.requires:
        of_branches, make_target = joint.lambda_backup, head.lambda_target
    return make_target(*of_branches(bootstrap, backup))


def dqn_loss(
    head: Head[Any],
    online: Predict,
    target: Predict,
    batch: Batch,
    noise: Noise,
    estimator: ValueEstimator,
    *,
    double: bool = False,
    selector: Predict | None = None,
    joint: JointAction = ONE_ACTION,
) -> tuple[Tensor, Tensor]:
    """The loss of deep Q-learning, before reduction and importance weights.

    See "Human-level control through deep reinforcement learning", Mnih et al., 2015; "Deep Reinforcement Learning
    with Double Q-learning", van Hasselt et al., 2016.

    Args:
        head: interprets predictions.
        online: ``(observation, noise) → Prediction``, differentiated.
        target: the same for the target network, not differentiated.
        batch: transitions ``[*B]``.
        noise: everything random in the forward passes.
        estimator: the value estimator.
        double: whether the online network selects next actions.
        selector: the online network where it selects actions, which is not differentiated; None: ``online``.
        joint: how the branches of a joint action make one target and one loss.

    Returns:
        The loss ``[*B]`` and the signed td_error ``mean(target) − mean(prediction)``, detached: ``[*B]``, or
        ``[D, *B]`` if every branch has its own.
    """
    selects_online = double or "next_online" in estimator.requires
    chooser = (selector or online) if selects_online else None
    with torch.no_grad():
        goal = dqn_target(head, chooser, target, batch, noise, estimator, joint=joint)
    prediction = of_action(online(batch.observation, noise.online), batch.action)  # [*B, N]
    loss, td_error = head.loss(joint.taken(prediction), goal)
    if batch.bootstrap_mask is not None:
        loss = loss * batch.bootstrap_mask.movedim(-1, 0)  # [K, *B]
    return joint.mean(loss), td_error.detach()


def of_action(prediction: Prediction, action: Tensor) -> Prediction:
    """The prediction of one action per batch entry: ``[*B, A, N]``, ``[*B]`` → ``[*B, N]``.

    Raises:
        ValueError: there is not one action per prediction.
    """
    if prediction.out.shape[:-2] != action.shape:
        raise _unequal(prediction.out.shape[:-2], action.shape)
    taus = None if prediction.taus is None else prediction.taus.squeeze(-2)  # [*B, N]
    return Prediction(take(prediction.out, action), taus)


def _unequal(predicted: torch.Size, given: torch.Size) -> ValueError:
    return ValueError(
        f"expected one action for each of {[*predicted]} predictions, got {[*given]}; give observations, actions and "
        "rewards the same batch dimensions"
    )
