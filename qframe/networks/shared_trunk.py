"""The dueling network: a trunk shared by a stream of advantages and a stream of state values."""

from functools import partial
from typing import Any

from tensordict import TensorDictBase
from tensordict.nn import TensorDictModule, TensorDictSequential
from torch import Tensor, nn

from qframe.actions import ActionSpace, AnyActionSpace
from qframe.functional.dueling import dueling
from qframe.heads import Head, Prediction
from qframe.keys import ACTION_VALUE, OBSERVATION, STATE_VALUE
from qframe.networks.noisy import make_noisy
from qframe.networks.q_net import CHOICE, GreedyNetwork, MakeHead, choose
from qframe.networks.recurrent_trunk import MakeMemory, with_memory
from qframe.networks.trunks import Trunk


class SharedTrunk(GreedyNetwork):
    """The dueling network as a shared trunk with a policy (advantage) stream and a state-value stream.

    ``Q = V + A − mean_a A`` on the raw outputs, for scalar and distributional heads alike. See "Dueling Network
    Architectures for Deep Reinforcement Learning", Wang et al., 2016, equation 9.

    Called with a tensordict it writes ``hidden``, ``action``, ``action_value``, ``chosen_action_value`` and
    ``state_value``. ``get_policy_operator()`` acts alone, on advantages, where their order is the order of the action
    values; for a categorical head it includes the value stream. ``get_value_operator()`` gives the value stream's
    outputs ``[*B, N]``: V(s), its quantiles, or its logits.

    Args:
        trunk: observation → features ``[*B, H]``.
        make_head: a head's class, or anything that builds one from ``(features, num_actions)``: called for the
            advantages, and with one action for the state value.
        action_space: of the environment, or the action's spec.
        make_memory: a memory's class, or anything that builds one from ``(num_features, num_actions)``; None: values
            depend on the current observation alone.
        dueling: whether the value stream is part of Q. False is for ``DQVLoss``; no other loss would train the stream.
        noisy: whether linear layers of the trunk and both streams are noisy (``NoisyLinear``).
        noisy_std: σ₀ of noisy layers.
        normalize_observation: whether observations are normalised by the mean and variance of those collected.
    """

    def __init__(
        self,
        trunk: Trunk,
        make_head: MakeHead,
        *,
        action_space: AnyActionSpace,
        make_memory: MakeMemory | None = None,
        dueling: bool = True,
        noisy: bool = False,
        noisy_std: float = 0.5,
        normalize_observation: bool = False,
    ) -> None:
        super().__init__(action_space)
        self.trunk = with_memory(
            trunk, make_memory, self.action_space, normalize_observation=normalize_observation
        )
        self.head = make_head(self.trunk.num_features, self.action_space.num_actions)
        state_head = make_head(self.trunk.num_features, 1)
        self.state_head = state_head.as_follower() if dueling else state_head
        if noisy:
            make_noisy(trunk, self.head, self.state_head, std_init=noisy_std)
        self.branches, self.dueling = self.action_space, dueling
        self.out_keys = ["hidden", *self.out_keys, STATE_VALUE]

    @property
    def level_heads(self) -> list[Head[Any]]:
        return [self.state_head] if self.dueling else [self.head, self.state_head]

    def get_policy_operator(self) -> TensorDictSequential:
        """The policy from an observation: trunk and policy head."""
        return TensorDictSequential(TensorDictModule(self.trunk, [OBSERVATION], ["hidden"]), self.get_policy_head())

    def get_value_operator(self) -> TensorDictSequential:
        """The state value from an observation: trunk and value head."""
        return TensorDictSequential(TensorDictModule(self.trunk, [OBSERVATION], ["hidden"]), self.get_value_head())

    def get_policy_head(self) -> TensorDictSequential:
        """The policy from the trunk's features."""
        stream: nn.Module = _Advantage(self.head)
        if self.dueling and self.head.needs_state_value:
            stream = _DuelingValue(self.head, self.state_head, self.action_space)
        return TensorDictSequential(
            TensorDictModule(stream, ["hidden"], [ACTION_VALUE]),
            TensorDictModule(partial(choose, self.action_space), [ACTION_VALUE], list(CHOICE)),
        )

    def get_value_head(self) -> TensorDictModule:
        """The state value from the trunk's features."""
        return TensorDictModule(_StateValue(self.state_head), ["hidden"], [STATE_VALUE])

    def predict(self, observation: Any, taus: Tensor | None = None) -> Prediction:
        return self._combined(self.trunk(observation), taus)

    def predict_streams(self, observation: Tensor, taus: Tensor | None = None) -> tuple[Prediction, Prediction]:
        """The two streams: advantages (action values without dueling), and the state value ``[*B, 1, N]``."""
        hidden = self.trunk(observation)
        action = self.head.prediction(hidden, taus)
        return action._replace(out=self.branches.split(action.out)), self.state_head.prediction(hidden, taus)

    def _combined(self, hidden: Tensor, taus: Tensor | None = None) -> Prediction:
        if self.dueling:
            return _combine(self.head, self.state_head, self.action_space, hidden, taus)
        action = self.head.prediction(hidden, taus)
        return action._replace(out=self.branches.split(action.out))

    def forward(self, tensordict: TensorDictBase) -> TensorDictBase:
        hidden = self.trunk(self.observe(tensordict))
        value = self.head.value(self._combined(hidden))
        tensordict.set("hidden", hidden)
        tensordict.set(STATE_VALUE, _state_value(self.state_head, hidden))
        return self.write(tensordict, self.branches.join(value))


def _combine(
    head: Head[Any], state_head: Head[Any], action_space: ActionSpace, hidden: Tensor, taus: Tensor | None = None
) -> Prediction:
    advantage = head.prediction(hidden, taus)
    state_value = state_head.prediction(hidden, advantage.levels).out.squeeze(-2)  # [*B, N]
    real = action_space.split_mask(None, state_value.shape[:-1], state_value.device)
    return Prediction(dueling(state_value, action_space.split(advantage.out), real), advantage.taus)


def _state_value(state_head: Head[Any], hidden: Tensor) -> Tensor:
    """The outputs of the value stream, without those that a head needs for its loss only, ``[*B, N]``."""
    return state_head.prediction(hidden).out.squeeze(-2)[..., : state_head.num_outputs]


class _Advantage(nn.Module):
    """Advantages in place of action values, which they order alike."""

    def __init__(self, head: Head[Any]) -> None:
        super().__init__()
        self.head = head

    def forward(self, hidden: Tensor) -> Tensor:
        return self.head.value(self.head.prediction(hidden))  # [*B, A]


class _DuelingValue(nn.Module):
    def __init__(self, head: Head[Any], state_head: Head[Any], action_space: ActionSpace) -> None:
        super().__init__()
        self.head, self.state_head, self.action_space = head, state_head, action_space

    def forward(self, hidden: Tensor) -> Tensor:
        value = self.head.value(_combine(self.head, self.state_head, self.action_space, hidden))
        return self.action_space.join(value)  # [*B, A], of all branches side by side


class _StateValue(nn.Module):
    def __init__(self, state_head: Head[Any]) -> None:
        super().__init__()
        self.state_head = state_head

    def forward(self, hidden: Tensor) -> Tensor:
        return _state_value(self.state_head, hidden)
