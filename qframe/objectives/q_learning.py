"""The pure part of the DQN loss: one target and one loss for every head and every estimator."""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from qframe.modules.heads import Head, Prediction
from qframe.objectives.batch import Batch
from qframe.objectives.estimators import ValueEstimator, Values

Predict = Callable[..., Prediction]


class Noise(NamedTuple):
    """Quantile levels for each forward pass, drawn outside the mathematics; None for heads that take none."""

    online: Tensor | None = None  # [*B, N]
    target: Tensor | None = None  # [*B, N]
    selector: Tensor | None = None  # [*B, N]


def dqn_target(
    head: Head[Any], selector: Predict, target: Predict, batch: Batch, noise: Noise, estimator: ValueEstimator
) -> Any:
    """The target of every transition: the estimator says which bootstraps, the head says what they mean.

    Args:
        head: interprets predictions.
        selector: the network that selects next actions, ``(observation, taus) → Prediction``; the online one for
            Double DQN, else the target network.
        target: the network that evaluates them.
        batch: transitions ``[*B]``.
        noise: quantile levels for the passes.
        estimator: the value estimator.

    Returns:
        Whatever ``head.loss`` takes as a target.
    """
    bootstrap = target(batch.next_observation, noise.target)  # [*B, A, N]
    value = head.value(bootstrap)
    select = value if selector is target else head.value(selector(batch.next_observation, noise.selector))
    now = None
    if "target_now" in estimator.requires:
        now = head.value(target(batch.observation, noise.target))
    action, backup = estimator(batch, Values(select, value, now))
    return backup.target(head, bootstrap if action is None else bootstrap.take(action))


def dqn_loss(
    head: Head[Any],
    online: Predict,
    target: Predict,
    batch: Batch,
    noise: Noise,
    estimator: ValueEstimator,
    *,
    double: bool = False,
) -> tuple[Tensor, Tensor]:
    """The loss of deep Q-learning, before reduction and importance weights.

    See "Human-level control through deep reinforcement learning", Mnih et al., 2015; "Deep Reinforcement Learning
    with Double Q-learning", van Hasselt et al., 2016.

    Args:
        head: interprets predictions.
        online: ``(observation, taus) → Prediction``, differentiated.
        target: the same for the target network, not differentiated.
        batch: transitions ``[*B]``.
        noise: quantile levels for the passes.
        estimator: the value estimator.
        double: whether the online network selects next actions.

    Returns:
        The loss ``[*B]`` and the signed td_error ``[*B]``, ``mean(target) − mean(prediction)``, detached.
    """
    with torch.no_grad():
        goal = dqn_target(head, online if double else target, target, batch, noise, estimator)
    prediction = online(batch.observation, noise.online).take(batch.action)  # [*B, N]
    loss, td_error = head.loss(prediction, goal)
    return loss, td_error.detach()
