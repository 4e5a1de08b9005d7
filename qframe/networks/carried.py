"""Acting with or without a memory: what a network carries from step to step, for each environment."""

from collections.abc import Callable
from typing import Any, Protocol

import torch
from torch import Tensor

from qframe.actions import ActionSpace
from qframe.heads import Prediction
from qframe.networks.protocol import Network
from qframe.networks.recurrent_trunk import MEMORY, RecurrentTrunk, recurrent_trunk

Entries = dict[Any, Tensor]


class Carried(Protocol):
    """Predicts step by step, for E environments."""

    predict: Callable[[Any], Prediction]
    """The prediction for the next observations of all environments, ``[E, …]`` → ``[E, A, N]``."""

    def predict_some(self, observation: Any, rows: Tensor) -> Prediction:
        """The prediction for the next observations of some environments; the others do not take this step.

        Args:
            observation: theirs.
            rows: flags of these environments, ``[E]``.
        """
        ...

    @property
    def stored(self) -> Entries:
        """What the last prediction started from, and is stored with the step."""
        ...

    def after(self, action: Tensor, reward: Tensor, begins: Tensor) -> Entries:
        """Take note of a step.

        Args:
            action: index ``[E]`` or ``[E, D]``.
            reward: of the environment ``[E]``.
            begins: whether the next observation is the first of its episode, bool ``[E]``.

        Returns:
            What is stored with the next observation.
        """
        ...

    def begin(self) -> None:
        """Begin new episodes in all environments."""
        ...

    def state_dict(self) -> Entries: ...

    def load_state_dict(self, state: Entries) -> None: ...


class NothingCarried:
    """A network without a memory: it predicts from each observation alone."""

    def __init__(self, network: Network) -> None:
        self.predict: Callable[[Any], Prediction] = network.predict
        self.stored: Entries = {}

    def predict_some(self, observation: Any, rows: Tensor) -> Prediction:
        return self.predict(observation)

    def after(self, action: Tensor, reward: Tensor, begins: Tensor) -> Entries:
        return {}

    def begin(self) -> None:
        pass

    def state_dict(self) -> Entries:
        return {}

    def load_state_dict(self, state: Entries) -> None:
        pass


class CarriedState:
    """The states of a memory, and the last actions and rewards if it takes them; an episode starts from initial ones.

    Args:
        network: with a memory.
        trunk: its trunk.
        num_envs: E.
        action_space: of its actions.
        stores_state: whether ``stored`` has the states.
    """

    def __init__(
        self, network: Network, trunk: RecurrentTrunk, num_envs: int, action_space: ActionSpace, *, stores_state: bool
    ) -> None:
        self._network, self._trunk, self._stores_state = network, trunk, stores_state
        self._num_envs, self._branches = num_envs, len(action_space.known_sizes) if action_space.is_joint else 0
        self._now: Entries = {}
        self._before: Entries = {}
        self.begin()

    def begin(self) -> None:
        state = self._trunk.memory.initial_state([self._num_envs]).detach().cpu()
        self._now = {"state": state, "is_first": torch.ones(self._num_envs, 1, dtype=torch.bool)}
        shape = (self._num_envs, self._branches) if self._branches else (self._num_envs,)
        self._now |= self._last(torch.full(shape, -1), torch.zeros(self._num_envs))
        self._before = dict(self._now)

    def predict(self, observation: Any) -> Prediction:
        return self.predict_some(observation, torch.ones(self._num_envs, dtype=torch.bool))

    @torch.no_grad()
    def predict_some(self, observation: Any, rows: Tensor) -> Prediction:
        device = next(self._trunk.parameters()).device
        self._before = dict(self._now)
        taken = {key: leaf[rows].to(device) for key, leaf in self._now.items()}
        remembered, state = self._trunk.step(observation, taken)
        self._now["state"] = self._now["state"].masked_scatter(rows.unsqueeze(-1), state.cpu())
        return self._network.predict(remembered)

    @property
    def stored(self) -> Entries:
        hidden = () if self._stores_state else ("state",)
        return {(MEMORY, key): leaf for key, leaf in self._before.items() if key not in hidden}

    def after(self, action: Tensor, reward: Tensor, begins: Tensor) -> Entries:
        self._now["is_first"], last = begins.unsqueeze(-1), self._last(action, reward)
        for key, leaf in last.items():
            nothing = -1 if key == "last_action" else 0
            self._now[key] = torch.where(begins.view(-1, *[1] * (leaf.ndim - 1)), nothing, leaf)
        return {(MEMORY, key): leaf for key, leaf in last.items()}

    def state_dict(self) -> Entries:
        return dict(self._now)

    def load_state_dict(self, state: Entries) -> None:
        self._now = dict(state)

    def _last(self, action: Tensor, reward: Tensor) -> Entries:
        """The entries of the last step that the memory takes."""
        own = {"last_action": action, "last_reward": reward.to(torch.float32).unsqueeze(-1)}
        return {key: leaf for key, leaf in own.items() if key.removeprefix("last_") in self._trunk.memory.inputs}


def carried(network: Network, num_envs: int, action_space: ActionSpace, *, stores_state: bool = False) -> Carried:
    """What a network carries while it acts in E environments."""
    trunk = recurrent_trunk(network)
    if trunk is None:
        return NothingCarried(network)
    return CarriedState(network, trunk, num_envs, action_space, stores_state=stores_state)
