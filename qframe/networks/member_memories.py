"""The memories of an ensemble: one for each member, which shares none of its state with the others."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from qframe.networks.memory import Memory


class MemberMemories(Memory):
    """K memories on the same inputs, as one: features ``[*B, K·M]`` and states ``[*B, K·S]`` lie side by side.

    Args:
        make: builds a member's memory from ``(num_features, num_actions)``.
        num_members: K.
        num_features: of the trunk.
        num_actions: A, the width of the last action as an input.
        gradient_scale: of the gradient that reaches the trunk.
    """

    def __init__(
        self,
        make: Callable[[int, int], Memory],
        num_members: int,
        num_features: int,
        num_actions: int,
        *,
        gradient_scale: float = 1.0,
    ) -> None:
        members = [make(num_features, num_actions) for _ in range(num_members)]
        super().__init__(num_features, num_actions, inputs=members[0].inputs)
        self.members, self.gradient_scale = nn.ModuleList(members), gradient_scale
        self.num_features = num_members * members[0].num_features
        self.state_size = num_members * members[0].state_size

    def initial_state(self, batch: Any) -> Tensor:
        return torch.cat([member.initial_state(batch) for member in self._all()], -1)

    def step(self, inputs: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        return self._joined("step", inputs, state)

    def over_time(self, inputs: Tensor, state: Tensor, is_first: Tensor) -> tuple[Tensor, Tensor]:
        return self._joined("over_time", inputs, state, is_first)

    def over_episode(self, inputs: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        return self._joined("over_episode", inputs, state)

    def _joined(self, method: str, inputs: Tensor, state: Tensor, *arguments: Tensor) -> tuple[Tensor, Tensor]:
        """What every member's method returns, side by side."""
        inputs, states = scaled_gradient(inputs, self.gradient_scale), state.chunk(len(self.members), -1)
        pairs = [
            getattr(member, method)(inputs, own, *arguments)
            for member, own in zip(self.members, states, strict=True)
        ]  # fmt: skip
        return torch.cat([features for features, _ in pairs], -1), torch.cat([after for _, after in pairs], -1)

    def _all(self) -> list[Any]:
        return list(self.members)


def scaled_gradient(x: Tensor, scale: float) -> Tensor:
    """``x``, whose gradient is multiplied by ``scale``."""
    return x if scale == 1 else x.detach() + scale * (x - x.detach())
