"""DQV: a state-value head learned by TD, on which the action values bootstrap."""

from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import Tensor, nn

from qframe.actions import ActionSpace, TensorSpec
from qframe.estimators.protocol import Batch, ValueEstimator
from qframe.heads import Head, Prediction
from qframe.networks import SharedTrunk
from qframe.networks.noise import random_passes
from qframe.objectives.dqn import DQNLoss
from qframe.objectives.q_learning import ONE_ACTION, JointAction, Noise, dqn_target, of_action

Streams = Callable[..., tuple[Prediction, Prediction]]


class DQVLoss(DQNLoss):
    """Deep Quality-Value learning: ``V(s) ← r + γ · V⁻(s′)`` and ``Q(s, a) ← r + γ · V⁻(s′)``, one target for both.

    V⁻ is the target network's. With distributional heads the distribution of V(s′) takes the place of its value. No
    next action is selected, so there is nothing to double, and only estimators that use no action are allowed: TD0,
    TD1 and TDLambda. See "Deep Quality-Value (DQV) Learning", Sabatelli et al., 2018, equations 4 and 5.

    It is called like ``DQNLoss``; ``td_error`` is that of Q.

    Args:
        value_network: a ``SharedTrunk`` with ``dueling=False``, whose state-value head learns V and is not used in Q.
        delay_value: whether to keep a target network.
        action_space: a name, a spec or an ``ActionSpace``; None takes the network's.
        reduction: ``mean``, ``sum`` or ``none``; importance weights under ``priority_weight`` multiply first.
        priority: the source of priorities: ``td_error``, or ``loss`` (of both heads), then written under ``priority``.
        joint: how joint actions are trained, as for ``DQNLoss``; a state has one value for all branches.
        burn_in: steps at the beginning of every sequence that only bring a network's memory into its state.
        gamma: γ, for batches without ``("next", "discount")``.
        seed: of the generator that draws quantile levels.

    Raises:
        ValueError: a network without a state-value head of its own, or an unknown option.
    """

    learns_state_value = True
    refused_words = dict.fromkeys(
        ("next_online", "target_now", "next_action", "all_actions", "behaviour_probability"),
        "DQV bootstraps on the state value, not on actions; use estimator=td0, td1 or td_lambda",
    )

    def __init__(
        self,
        value_network: SharedTrunk,
        *,
        delay_value: bool = False,
        action_space: str | TensorSpec | ActionSpace | None = None,
        reduction: Literal["mean", "sum", "none"] = "mean",
        priority: Literal["td_error", "loss"] = "td_error",
        joint: Literal["sum", "mean", "branching"] = "sum",
        burn_in: int = 0,
        gamma: float = 0.99,
        seed: int = 0,
    ) -> None:
        if getattr(value_network, "dueling", True):
            raise ValueError(
                "DQV needs a shared trunk with dueling=false, whose state value is learnt and not part of Q; this is "
                f"{_description(value_network)}; set network=shared_trunk network.dueling=false"
            )
        super().__init__(
            value_network, delay_value=delay_value, action_space=action_space, reduction=reduction, priority=priority,
            joint=joint, burn_in=burn_in, gamma=gamma, seed=seed,
        )
        modules = self.value_network, self.target_value_network
        sides = (0, 1) if self.has_memory else (None, None)
        streams: Any = tuple(map(_BothStreams, modules, sides))
        self._streams: Any = random_passes(streams, modules) or streams

    def _predict_next(self, observation: Any, noise: Any) -> Prediction:
        return self._streams[1].predict(observation, noise)[1]

    def _losses(self, batch: Batch, noise: Noise) -> tuple[Tensor, Tensor]:
        online, target = self._streams
        learning, following = self._in_modes(online.predict, target.predict)
        return dqv_loss(self.head, learning, following, batch, noise, self.estimator, joint=self._joint)


def dqv_loss(
    head: Head[Any],
    online: Streams,
    target: Streams,
    batch: Batch,
    noise: Noise,
    estimator: ValueEstimator,
    *,
    joint: JointAction = ONE_ACTION,
) -> tuple[Tensor, Tensor]:
    """The loss of DQV, before reduction and importance weights: that of Q plus that of V.

    Args:
        head: interprets predictions.
        online: ``(observation, noise)`` → the predictions for all actions ``[*B, A, N]`` and the state ``[*B, 1, N]``.
        target: the same for the target network, not differentiated.
        batch: transitions ``[*B]``.
        noise: everything random in the forward passes.
        estimator: the value estimator; for it, a next state has a single action.
        joint: how the branches of a joint action make one loss.

    Returns:
        The loss ``[*B]`` and the signed td_error of Q, detached, ``[*B]`` or, of every branch, ``[D, *B]``.
    """

    def next_state(observation: Any, noise: Any) -> Prediction:
        return target(observation, noise)[1]

    with torch.no_grad():
        goal = dqn_target(head, None, next_state, batch._replace(mask=None, next_mask=None), noise, estimator)
    action, state = online(batch.observation, noise.online)
    loss, td_error = head.loss(joint.taken(of_action(action, batch.action)), goal)
    state_loss, _ = head.loss(of_action(state, torch.zeros_like(batch.reward, dtype=torch.int64)), goal)
    return joint.mean(loss) + state_loss, td_error.detach()


class _BothStreams:
    """A shared trunk as a network that predicts for its actions and for the state, in one pass.

    Args:
        network: the shared trunk.
        side: of the sequences that it has unrolled, if it has a memory.
    """

    def __init__(self, network: Any, side: int | None) -> None:
        self.head: Head[Any] = network.head
        self._network, self._side = network, side

    def predict(self, observation: Any, taus: Tensor | None = None) -> tuple[Prediction, Prediction]:
        return self._network.predict_streams(observation if self._side is None else observation[self._side], taus)


def _description(network: nn.Module) -> str:
    return f"{type(network).__name__} with dueling=true" if hasattr(network, "dueling") else type(network).__name__
