"""The plain Q-network of trunk and head, and what it shares with the other networks that a config chooses from.

All are tensordict modules with one tensor interface, which the loss and the collector use: ``observe(tensordict)``
returns the network's input, ``predict(observation, taus)`` a ``Prediction``, which ``head`` interprets;
``action_space`` describes the actions.
"""

from collections.abc import Callable
from typing import Any, Literal

from tensordict import TensorDictBase
from tensordict.nn import TensorDictModuleBase
from torch import Tensor

from qframe.actions import ActionSpace, AnyActionSpace, as_action_space
from qframe.heads import Head, Prediction
from qframe.keys import ACTION, ACTION_VALUE, CHOSEN_ACTION_VALUE, OBSERVATION
from qframe.networks.members import Returns
from qframe.networks.noisy import make_noisy
from qframe.networks.protocol import Branches
from qframe.networks.recurrent_trunk import MakeMemory, with_memory
from qframe.networks.trunks import Trunk

MakeHead = Callable[[int, int], Head[Any]]

CHOICE = (ACTION, ACTION_VALUE, CHOSEN_ACTION_VALUE)


def choose(action_space: ActionSpace, value: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The greedy action, the action values ``[*B, A]`` and the value ``[*B, 1]`` of the chosen action."""
    action = action_space.greedy_action(value)
    return action, value, action_space.chosen_value(value, action)


class GreedyNetwork(TensorDictModuleBase):
    """A network that reads ``observation`` and writes the action that is greedy for its values."""

    head: Head[Any]
    branches: Branches

    def __init__(self, action_space: AnyActionSpace) -> None:
        super().__init__()
        self.action_space = as_action_space(action_space)
        self.in_keys, self.out_keys = [OBSERVATION], list(CHOICE)

    @property
    def level_heads(self) -> list[Head[Any]]:
        """The heads whose biases move the values of all actions alike: not a dueling network's advantages."""
        return [self.head]

    def observe(self, tensordict: TensorDictBase) -> Tensor:
        """The observation in a tensordict."""
        return tensordict[OBSERVATION]

    def predict(self, observation: Any, taus: Tensor | None = None) -> Prediction:
        """The prediction for every action, ``[*B, …]`` → ``[*B, A, N]``; with branches ``[D, *B, A, N]``."""
        raise NotImplementedError

    def forward(self, tensordict: TensorDictBase) -> TensorDictBase:
        value = self.branches.join(self.head.value(self.predict(self.observe(tensordict))))
        return self.write(tensordict, value)

    def write(self, tensordict: TensorDictBase, value: Tensor) -> TensorDictBase:
        """Write the action values ``[*B, A]``, the greedy action and its value."""
        for key, entry in zip(CHOICE, choose(self.action_space, value), strict=True):
            tensordict.set(key, entry)
        return tensordict


class QNet(GreedyNetwork):
    """A plain Q-network: a trunk that emits features ``[*B, H]``, and the head that owns the last layer.

    Called with a tensordict it reads ``observation`` and writes ``action``, ``action_value`` ``[*B, A]`` and
    ``chosen_action_value`` ``[*B, 1]``.

    Args:
        trunk: observation → features ``[*B, H]``.
        make_head: a head's class, or anything that builds one from ``(features, num_actions)``.
        action_space: of the environment, or the action's spec.
        make_memory: a memory's class, or anything that builds one from ``(num_features, num_actions)``; None: values
            depend on the current observation alone.
        num_returns: 2 for a second set of outputs, of the return of a bonus for novelty; else 1.
        noisy: whether linear layers of the trunk and the head are noisy (``NoisyLinear``).
        noisy_std: σ₀ of noisy layers.
        normalize_observation: whether observations are normalised by the mean and variance of those collected.

    >>> import torch
    >>> from qframe.actions import Categorical
    >>> from qframe.heads import ScalarHead
    >>> from qframe.networks import MLPTrunk
    >>> network = QNet(MLPTrunk((4,), num_cells=[16]), ScalarHead, action_space=Categorical(2))
    >>> network.predict(torch.zeros(3, 4)).out.shape
    torch.Size([3, 2, 1])
    """

    def __init__(
        self,
        trunk: Trunk,
        make_head: MakeHead,
        *,
        action_space: AnyActionSpace,
        make_memory: MakeMemory | None = None,
        num_returns: Literal[1, 2] = 1,
        noisy: bool = False,
        noisy_std: float = 0.5,
        normalize_observation: bool = False,
    ) -> None:
        super().__init__(action_space)
        self.trunk = with_memory(
            trunk, make_memory, self.action_space, normalize_observation=normalize_observation
        )
        self.head = make_head(self.trunk.num_features, num_returns * self.action_space.num_actions)
        if noisy:
            make_noisy(trunk, self.head, std_init=noisy_std)
        self.members = None if num_returns == 1 else Returns()
        self.branches = self.members or self.action_space
        if self.members is not None and self.action_space.is_joint:
            raise ValueError(
                f"a bonus with outputs of its own takes no joint actions, got {self.action_space}; use "
                "action_space=enumerated, or reward.bonus.head=shared"
            )

    def predict(self, observation: Any, taus: Tensor | None = None) -> Prediction:
        out, taus = self.head.prediction(self.trunk(observation), taus)
        return Prediction(self.branches.split(out), taus)
