"""The two networks that a config chooses from: trunk and head, or a shared trunk with two streams (dueling).

Both are tensordict modules and share one tensor interface, which the loss and the collector use:
``observe(tensordict)`` picks what the network reads, ``predict(observation, taus)`` gives a ``Prediction``, ``head``
says what it means, ``action_space`` how actions are written.
"""

from collections.abc import Callable
from typing import Any

from tensordict import TensorDictBase
from tensordict.nn import TensorDictModuleBase
from torch import Tensor, nn

from qframe.data.keys import OBSERVATION
from qframe.data.specs_base import DiscreteSpec
from qframe.functional import Branches, dueling
from qframe.modules.actors import ValueOperator
from qframe.modules.branches import make_branches
from qframe.modules.heads import Head, Prediction
from qframe.modules.networks.noisy import make_noisy
from qframe.modules.networks.normalization import NormalizedTrunk
from qframe.modules.networks.trunks import Trunk
from qframe.modules.operators import ActorValueOperator
from qframe.modules.q_value import QValueModule
from qframe.modules.safe import SafeModule, SafeSequential

MakeHead = Callable[[int, int], Head[Any]]


class ReadsObservation:
    """What both networks read, and how they write actions."""

    q_value: QValueModule
    branches: Branches

    @property
    def action_space(self) -> str:
        """The canonical name of the action space."""
        return self.q_value.action_space

    def observe(self, tensordict: TensorDictBase) -> Tensor:
        """What this network reads from a tensordict."""
        return tensordict[OBSERVATION]


class QNet(ReadsObservation, TensorDictModuleBase):
    """A plain Q-network: a trunk that emits features ``[*B, H]``, and the head that owns the last layer.

    Called with a tensordict it reads ``observation`` and writes ``action``, ``action_value`` ``[*B, A]`` and
    ``chosen_action_value`` ``[*B, 1]``.

    Args:
        trunk: observation → features ``[*B, H]``.
        make_head: a head's class, or anything that builds one from ``(features, num_actions)``.
        spec: the action spec.
        noisy: whether linear layers of the trunk and the head are noisy (``NoisyLinear``).
        noisy_std: σ₀ of noisy layers.
        normalize_observation: whether observations are normalised by the mean and variance of those collected.

    >>> import torch
    >>> from qframe.data import Categorical
    >>> from qframe.modules import MLPTrunk, ScalarHead
    >>> network = QNet(MLPTrunk((4,), num_cells=[16]), ScalarHead, spec=Categorical(2))
    >>> network.predict(torch.zeros(3, 4)).out.shape
    torch.Size([3, 2, 1])
    """

    def __init__(
        self,
        trunk: Trunk,
        make_head: MakeHead,
        *,
        spec: DiscreteSpec,
        noisy: bool = False,
        noisy_std: float = 0.5,
        normalize_observation: bool = False,
    ) -> None:
        super().__init__()
        self.trunk = NormalizedTrunk(trunk) if normalize_observation else trunk
        self.head = make_head(trunk.num_features, spec.num_actions)
        if noisy:
            make_noisy(trunk, self.head, std_init=noisy_std)
        self.q_value = QValueModule(spec=spec)
        self.branches = make_branches(self.q_value.layout)
        self.in_keys = ["observation"]
        self.out_keys = list(self.q_value.out_keys)

    def predict(self, observation: Tensor, taus: Tensor | None = None) -> Prediction:
        """The prediction for every action, ``[*B, …]`` → ``[*B, A, N]``; for a joint one ``[D, *B, A, N]``."""
        out, taus = self.head.prediction(self.trunk(observation), taus)
        return Prediction(self.branches.split(out), taus)

    def forward(self, tensordict: TensorDictBase) -> TensorDictBase:
        value = self.branches.join(self.head.value(self.predict(self.observe(tensordict))))
        return self.q_value(tensordict.set("action_value", value))


class SharedTrunk(ReadsObservation, ActorValueOperator):
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
        spec: the action spec.
        dueling: whether the value stream is part of Q. False is for ``DQVLoss``; elsewhere nothing would reach it.
        noisy: whether linear layers of the trunk and both streams are noisy (``NoisyLinear``).
        noisy_std: σ₀ of noisy layers.
        normalize_observation: whether observations are normalised by the mean and variance of those collected.
    """

    def __init__(
        self,
        trunk: Trunk,
        make_head: MakeHead,
        *,
        spec: DiscreteSpec,
        dueling: bool = True,
        noisy: bool = False,
        noisy_std: float = 0.5,
        normalize_observation: bool = False,
    ) -> None:
        trunk = NormalizedTrunk(trunk) if normalize_observation else trunk
        head = make_head(trunk.num_features, spec.num_actions)
        state_head = make_head(trunk.num_features, 1)
        if dueling:
            state_head = state_head.as_follower()
        if noisy:
            make_noisy(trunk, head, state_head, std_init=noisy_std)
        q_value = QValueModule(spec=spec)
        branches = make_branches(q_value.layout)
        includes_value = dueling and head.needs_state_value
        stream = _DuelingValue(head, state_head, branches) if includes_value else _Advantage(head)
        policy = SafeSequential(SafeModule(stream, in_keys=["hidden"], out_keys=["action_value"]), q_value)
        super().__init__(
            SafeModule(trunk, in_keys=["observation"], out_keys=["hidden"]),
            policy,
            ValueOperator(_StateValue(state_head), in_keys=["hidden"]),
        )
        self.trunk, self.head, self.state_head, self.q_value = trunk, head, state_head, q_value
        self.branches, self.dueling = branches, dueling

    def predict(self, observation: Tensor, taus: Tensor | None = None) -> Prediction:
        """The prediction for every action, ``[*B, …]`` → ``[*B, A, N]``; for a joint one ``[D, *B, A, N]``."""
        return self._combined(self.trunk(observation), taus)

    def predict_streams(self, observation: Tensor, taus: Tensor | None = None) -> tuple[Prediction, Prediction]:
        """The two streams by themselves: advantages, or action values without dueling, and ``[*B, 1, N]``."""
        hidden = self.trunk(observation)
        action = self.head.prediction(hidden, taus)
        return action._replace(out=self.branches.split(action.out)), self.state_head.prediction(hidden, taus)

    def _combined(self, hidden: Tensor, taus: Tensor | None = None) -> Prediction:
        if self.dueling:
            return _combine(self.head, self.state_head, self.branches, hidden, taus)
        action = self.head.prediction(hidden, taus)
        return action._replace(out=self.branches.split(action.out))

    def forward(  # pyright: ignore[reportIncompatibleVariableOverride]
        self, tensordict: TensorDictBase
    ) -> TensorDictBase:
        hidden = self.trunk(self.observe(tensordict))
        value = self.head.value(self._combined(hidden))
        tensordict.set("hidden", hidden)
        tensordict.set("state_value", _state_value(self.state_head, hidden))
        return self.q_value(tensordict.set("action_value", self.branches.join(value)))


def _combine(
    head: Head[Any], state_head: Head[Any], branches: Branches, hidden: Tensor, taus: Tensor | None = None
) -> Prediction:
    advantage = head.prediction(hidden, taus)
    state_value = state_head.prediction(hidden, advantage.levels).out.squeeze(-2)  # [*B, N]
    real = branches.legal(None, state_value.shape[:-1])
    return Prediction(dueling(state_value, branches.split(advantage.out), real), advantage.taus)


def _state_value(state_head: Head[Any], hidden: Tensor) -> Tensor:
    """The outputs of the value stream, without what a head adds for its loss, ``[*B, N]``."""
    return state_head.prediction(hidden).out.squeeze(-2)[..., : state_head.num_outputs]


class _Advantage(nn.Module):
    """Advantages in place of action values: the same order."""

    def __init__(self, head: Head[Any]) -> None:
        super().__init__()
        self.head = head

    def forward(self, hidden: Tensor) -> Tensor:
        return self.head.value(self.head.prediction(hidden))  # [*B, A]


class _DuelingValue(nn.Module):
    def __init__(self, head: Head[Any], state_head: Head[Any], branches: Branches) -> None:
        super().__init__()
        self.head, self.state_head, self.branches = head, state_head, branches

    def forward(self, hidden: Tensor) -> Tensor:
        value = self.head.value(_combine(self.head, self.state_head, self.branches, hidden))
        return self.branches.join(value)  # [*B, A], of all branches side by side


class _StateValue(nn.Module):
    def __init__(self, state_head: Head[Any]) -> None:
        super().__init__()
        self.state_head = state_head

    def forward(self, hidden: Tensor) -> Tensor:
        return _state_value(self.state_head, hidden)
