"""A trained network as one function of plain tensors, which is exported and then runs without qframe."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from qframe.actions import ActionSpace
from qframe.envs.observations import as_tensors, own_copy
from qframe.networks.protocol import TrainedNetwork

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

    Args:
        network: the trained network.
        action_space: of the environment.
        paths: the entries of an observation in the order of the inputs; ``[()]`` for a plain observation.
    """

    def __init__(self, network: TrainedNetwork, action_space: ActionSpace, paths: list[Path]) -> None:
        super().__init__()
        network.eval()
        self.network, self._paths = network, paths
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

    def forward(self, *inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Choose greedy actions.

        Args:
            *inputs: the entries of observations ``[B, …]``, then the mask of legal actions, bool ``[B, A]``, with the
                actions of all branches side by side.

        Returns:
            Actions for ``env.step``, ``[B, …]``, and the action values ``[B, A]``.
        """
        *entries, mask = inputs
        observation = entries[0] if self._paths == [()] else Entries(dict(zip(self._paths, entries, strict=True)))
        if self.legal is not None:
            mask = mask[:, self.legal].all(-1)  # [B, A]: a joint action is legal where all its choices are
        value = self.network.branches.join(self.network.head.value(self.network.predict(observation)))
        index = self._action_space.greedy_index(value, mask)
        if self._action_space.is_joint:
            taken = self.table.expand(index.shape[0], -1, -1).gather(-1, index.unsqueeze(-1))  # [B, D, 1]
            return taken.reshape(-1, *self._shape), value
        return self.table[index], value


class Policy:
    """The greedy policy of a trained network, for the observations of one environment.

    Args:
        network: the trained network.
        action_space: of the environment.
    """

    def __init__(self, network: TrainedNetwork, action_space: ActionSpace) -> None:
        self.network, self.action_space = network, action_space
        network.eval()

    def __call__(self, observation: Any, mask: Any = None) -> Any:
        """The action for ``env.step``.

        Args:
            observation: as the environment gives it, with the wrappers of training.
            mask: bool ``[A]``, the legal actions, those of all branches side by side; None: all.
        """
        value = self.values(observation)[None]
        legal = None if mask is None else self.action_space.legal(np.asarray(mask, np.bool_)[None])
        index = self.action_space.greedy_index(value, None if legal is None else torch.from_numpy(legal))
        return self.action_space.to_env(index[0])

    def values(self, observation: Any) -> Tensor:
        """The action values ``[A]``, those of all branches side by side."""
        batch = as_tensors(own_copy(_batch_of_one(observation)))
        with torch.no_grad():
            device = next(iter(self.network.head.parameters())).device
            value = self.network.head.value(self.network.predict(batch.to(device)))
        return self.network.branches.join(value)[0].cpu()


def _batch_of_one(observation: Any) -> Any:
    if isinstance(observation, Mapping):
        return {key: _batch_of_one(entry) for key, entry in observation.items()}
    if isinstance(observation, tuple):
        return tuple(map(_batch_of_one, observation))
    return np.asarray(observation)[None]
