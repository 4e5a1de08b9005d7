"""The base of memories, which stand between a trunk and its head and carry a state from step to step."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn


class Memory(nn.Module, ABC):
    """A recurrent part: features and a state become features and the next state.

    To add a memory, write one file with a subclass and one YAML that names it. A subclass calls this constructor,
    states ``num_features`` and ``state_size``, and defines ``step``; ``initial_state``, ``over_time`` and
    ``over_episode`` follow, and may be replaced by faster ones. A state is one vector ``[*B, S]``, whatever it consists
    of, so that a replay can store it and an exported policy can take and return it.

    Shapes: ``*B`` any batch dimensions, ``T`` time, ``I`` inputs, ``M`` features, ``S`` numbers of a state.

    Args:
        num_features: of the trunk.
        num_actions: A, the width of the last action as an input, one-hot.
        inputs: what is appended to the trunk's features: ``action``, the last action, and ``reward``, the last reward
            of the environment; both are 0 at an episode's first step.
    """

    num_features: int
    """M, of the output."""
    state_size: int
    """S."""

    def __init__(
        self, num_features: int, num_actions: int, *, inputs: Sequence[Literal["action", "reward"]] = ()
    ) -> None:
        super().__init__()
        self.inputs = tuple(inputs)
        self.num_inputs = num_features + num_actions * ("action" in inputs) + ("reward" in inputs)
        """I, of the trunk's features and the further inputs."""

    def initial_state(self, batch: Sequence[int]) -> Tensor:
        """The state at the beginning of an episode, ``[*batch, S]``; zeros, unless a subclass has another."""
        like = next(self.parameters())
        return torch.zeros((*batch, self.state_size), dtype=like.dtype, device=like.device)

    @abstractmethod
    def step(self, inputs: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """One step, ``[*B, I]`` and ``[*B, S]`` → the features ``[*B, M]`` and the next state ``[*B, S]``."""

    def over_time(self, inputs: Tensor, state: Tensor, is_first: Tensor) -> tuple[Tensor, Tensor]:
        """A pass over T steps; the state is reset where an episode begins.

        Args:
            inputs: ``[*B, T, I]``.
            state: before the first step, ``[*B, S]``.
            is_first: whether a step is the first of its episode, bool ``[*B, T]``.

        Returns:
            The features ``[*B, T, M]``, and the state after every step ``[*B, T, S]``.
        """
        initial = self.initial_state(state.shape[:-1])
        features, states = [], []
        for x, begins in zip(inputs.unbind(-2), is_first.unsqueeze(-1).unbind(-2), strict=True):
            out, state = self.step(x, torch.where(begins, initial, state))
            features.append(out)
            states.append(state)
        return torch.stack(features, -2), torch.stack(states, -2)

    def over_episode(self, inputs: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """A pass over T steps of one episode, which may be faster than ``over_time``.

        Args:
            inputs: ``[*B, T, I]``.
            state: before the first step, ``[*B, S]``.

        Returns:
            The features ``[*B, T, M]``, and the state after the last step ``[*B, S]``.
        """
        nowhere = torch.zeros(inputs.shape[:-1], dtype=torch.bool, device=inputs.device)
        features, states = self.over_time(inputs, state, nowhere)
        return features, states[..., -1, :]


def no_memory() -> None:
    """No memory: action values depend on the current observation alone. It stands for None in a config."""
