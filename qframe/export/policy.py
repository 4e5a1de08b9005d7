"""A trained network as one function of plain tensors, which is exported and then runs without qframe."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from qframe.actions import ActionSpace
from qframe.envs.observations import as_tensors, own_copy
from qframe.networks.carried import carried
from qframe.networks.protocol import TrainedNetwork
from qframe.networks.recurrent_trunk import RecurrentTrunk, Remembered, recurrent_trunk

Path = tuple[str, ...]


class Entries:
    """A nested observation, read by a trunk like a tensordict: entries by key, groups of them by their first key.

    Args:
        entries: tensors ``[B, …]`` by path.
    """

    def __init__(self, entries: dict[Path, Tensor]) -> None:
        self._entries = entries

    def get(self, key: str | Path) -> Any:
        """The entry, or the group of entries, under a key."""
        path = (key,) if isinstance(key, str) else tuple(key)
        if path in self._entries:
            return self._entries[path]
        return Entries({p[len(path) :]: entry for p, entry in self._entries.items() if p[: len(path)] == path})

    def set(self, key: str | Path, entry: Tensor) -> None:
        """Replace an entry."""
        self._entries[(key,) if isinstance(key, str) else tuple(key)] = entry

    def copy(self) -> "Entries":
        """A shallow copy."""
        return Entries(dict(self._entries))


class GreedyPolicy(nn.Module):
    """Maps observations of the environment and action masks to its actions, and to action values.

    It contains every step in between: encoding and normalisation of observations, masking, and numbering of actions.
    With a memory it takes a state and returns the next one: zeros at the beginning of an episode, and then what it
    returned for the step before. The state holds the last action as well, if the memory wants it.

    Args:
        network: the trained network.
        action_space: of the environment.
        paths: the entries of an observation in the order of the inputs; ``[()]`` for a plain observation.
    """

    def __init__(self, network: TrainedNetwork, action_space: ActionSpace, paths: list[Path]) -> None:
        super().__init__()
        network.eval()
        self.network, self._paths = network, paths
        self._trunk = recurrent_trunk(network)
        self.wants_reward = self._trunk is not None and "reward" in self._trunk.memory.inputs
        self._wants_action = self._trunk is not None and "action" in self._trunk.memory.inputs
        branches = len(action_space.known_sizes) if action_space.is_joint else 1
        self.state_size = 0 if self._trunk is None else self._trunk.memory.state_size + branches * self._wants_action
        """Numbers of a state; 0 without a memory."""
        self._action_space = action_space
        self.table: Tensor
        self.legal: Tensor | None
        self._shape = action_space.shape
        if action_space.is_joint:  # the environment's numbers of each branch, padded by its last one
            last = torch.tensor(action_space.known_sizes) - 1
            columns = [np.ravel(action_space.to_env(last.clamp(max=index))) for index in range(int(last.max()) + 1)]
            self.register_buffer("table", torch.as_tensor(np.stack(columns, -1)))  # [D, A]
        else:
            every = [action_space.to_env(index) for index in range(action_space.num_actions)]
            self.register_buffer("table", torch.as_tensor(np.stack(every)))
        self.num_mask, factors, places = sum(action_space.choices), action_space.factors, None
        if factors:
            choices = np.stack(np.unravel_index(np.arange(action_space.num_actions), factors), -1)
            places = torch.from_numpy(choices + np.cumsum([0, *factors[:-1]]))  # [A, D]
        self.register_buffer("legal", places)

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Choose greedy actions.

        Args:
            *inputs: the entries of observations ``[B, …]``, then the mask of legal actions, bool ``[B, A]``, with the
                actions of all branches side by side. With a memory, further its state ``[B, state_size]``, and the last
                reward ``[B, 1]`` if it wants it (0 at the beginning of an episode).

        Returns:
            Actions for ``env.step``, ``[B, …]``, the action values ``[B, A]``, and with a memory the next state.
        """
        number = max(len(self._paths), 1)
        entries, mask, carried = inputs[:number], inputs[number], inputs[number + 1 :]
        observation = entries[0] if self._paths == [()] else Entries(dict(zip(self._paths, entries, strict=True)))
        if self.legal is not None:
            mask = mask[:, self.legal].all(-1)  # [B, A]: a joint action is legal where all its choices are
        state = None
        if self._trunk is not None:
            observation, state = self._remember(self._trunk, observation, *carried)
        value = self.network.branches.join(self.network.head.value(self.network.predict(observation)))
        index = self._action_space.greedy_index(value, mask)
        if self._action_space.is_joint:
            taken = self.table.expand(index.shape[0], -1, -1).gather(-1, index.unsqueeze(-1))  # [B, D, 1]
            action = taken.reshape(-1, *self._shape)
        else:
            action = self.table[index]
        if state is None:
            return action, value
        taken = index if self._action_space.is_joint else index.unsqueeze(-1)  # [B, D]
        last = [(taken + 1).to(state.dtype)] if self._wants_action else []
        return action, value, torch.cat([state, *last], -1)

    def _remember(
        self, trunk: RecurrentTrunk, observation: Any, state: Tensor, reward: Tensor | None = None
    ) -> tuple[Remembered, Tensor]:
        """The features of an observation after those before it, and the memory's next state.

        States are counted from the initial one, and actions from 1, so that zeros are the beginning of an episode.
        """
        size = trunk.memory.state_size
        initial = trunk.memory.initial_state(state.shape[:1])
        last: dict[str, Tensor] = {} if reward is None else {"last_reward": reward}
        if self._wants_action:
            index = state[:, size:].to(torch.int64) - 1
            last["last_action"] = index if self._action_space.is_joint else index.squeeze(-1)
        remembered, following = trunk.step(observation, {"state": state[:, :size] + initial, **last})
        return remembered, following - initial


class Policy:
    """The greedy policy of a trained network, for the observations of one environment.

    With a memory it remembers the episode: call ``begin`` before the first observation of another one.

    Args:
        network: the trained network.
        action_space: of the environment.
    """

    def __init__(self, network: TrainedNetwork, action_space: ActionSpace) -> None:
        self.network, self.action_space = network, action_space
        network.eval()
        self._carried, self._last = carried(network, 1, action_space), None

    def begin(self) -> None:
        """Begin another episode."""
        self._carried.begin()
        self._last = None

    def __call__(self, observation: Any, mask: Any = None, *, reward: float = 0.0) -> Any:
        """The action for ``env.step``.

        Args:
            observation: as the environment gives it, with the wrappers of training.
            mask: bool ``[A]``, the legal actions, those of all branches side by side; None: all.
            reward: of the step before, for a memory that takes it.
        """
        if self._last is not None:
            self._carried.after(self._last, torch.tensor([reward]), torch.tensor([False]))
        value = self._values(observation)[None]
        legal = None if mask is None else self.action_space.legal(np.asarray(mask, np.bool_)[None])
        self._last = index = self.action_space.greedy_index(value, None if legal is None else torch.from_numpy(legal))
        return self.action_space.to_env(index[0])

    def values(self, observation: Any) -> Tensor:
        """The action values ``[A]``, those of all branches side by side; a memory stays as it is."""
        before = self._carried.state_dict()
        value = self._values(observation)
        self._carried.load_state_dict(before)
        return value

    def _values(self, observation: Any) -> Tensor:
        batch = as_tensors(own_copy(_batch_of_one(observation)))
        with torch.no_grad():
            device = next(iter(self.network.head.parameters())).device
            value = self.network.head.value(self._carried.predict(batch.to(device)))
        return self.network.branches.join(value)[0].cpu()


def _batch_of_one(observation: Any) -> Any:
    if isinstance(observation, Mapping):
        return {key: _batch_of_one(entry) for key, entry in observation.items()}
    if isinstance(observation, tuple):
        return tuple(map(_batch_of_one, observation))
    return np.asarray(observation)[None]
