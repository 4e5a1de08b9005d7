"""Exploration by an ensemble: one member's greedy actions for a whole episode."""

from typing import Any

import torch
from torch import Tensor

from qframe.actions import AnyActionSpace, as_action_space
from qframe.exploration.epsilon_greedy import exploring
from qframe.exploration.protocol import Exploration


class Bootstrapped(Exploration):
    """Every environment acts greedily for one member of an ensemble, drawn again at the start of each episode.

    A member keeps to its own estimate for a whole episode, so exploration is as deep as the episode. Each member learns
    from each transition with probability p, drawn independently, so that the members differ.
    See "Deep Exploration via Bootstrapped DQN", Osband et al., 2016, section 3 and algorithm 1.

    Args:
        action_space: of the environment, or the action's spec.
        num_members: K, of the network's ensemble.
        num_envs: E.
        bootstrap_probability: p in (0, 1] that a member learns from a transition; 1 stores no ``bootstrap_mask``.
        seed: of the module's own generator.

    Raises:
        ValueError: a number out of range; by ``explore``, values that are not those of K members.

    >>> from qframe.actions import Categorical
    >>> explore = Bootstrapped(Categorical(2), num_members=3, num_envs=1)
    >>> value = torch.tensor([[[0.0, 1.0]], [[0.0, 1.0]], [[0.0, 1.0]]])  # [K, E, A]
    >>> explore.explore(torch.tensor([0]), None, value)
    tensor([1])
    """

    reads_members = True

    def __init__(
        self,
        action_space: AnyActionSpace,
        *,
        num_members: int,
        num_envs: int,
        bootstrap_probability: float = 1.0,
        seed: int = 0,
    ) -> None:
        if not 0 < bootstrap_probability <= 1:
            raise ValueError(f"expected bootstrap_probability in (0, 1], got {bootstrap_probability}")
        if num_members < 1 or num_envs < 1:
            raise ValueError(f"expected num_members and num_envs of at least 1, got {num_members} and {num_envs}")
        self.num_members, self.bootstrap_probability = num_members, bootstrap_probability
        self._action_space, self._envs = as_action_space(action_space), torch.arange(num_envs)
        self._generator = torch.Generator().manual_seed(seed)
        self.member = self._draw()  # [E]

    def step(self, frames: int = 1, done: Tensor | None = None) -> None:
        """Draw a new member where an episode ended."""
        if done is not None and bool(done.any()):
            self.member = torch.where(done, self._draw(), self.member)

    def explore(self, action: Tensor, mask: Tensor | None = None, value: Tensor | None = None) -> Tensor:
        """The greedy actions ``[E]`` of the member that acts in each environment, from values ``[K, E, A]``."""
        if mask is not None:
            self._action_space.check_mask(mask)
        if value is None or value.dim() != 3 or len(value) != self.num_members:
            got = "none" if value is None else [*value.shape]
            raise ValueError(
                f"expected values [K, E, A] of {self.num_members} members, got {got}; use network=ensemble"
            )
        if not exploring():
            return action
        return self._action_space.greedy_index(value.to(action.device)[self.member, self._envs], mask)

    def stored(self) -> dict[str, Tensor]:
        """Which members learn from this step's transitions, ``bootstrap_mask`` bool ``[E, K]``."""
        if self.bootstrap_probability == 1:
            return {}
        drawn = torch.rand(len(self._envs), self.num_members, generator=self._generator)
        return {"bootstrap_mask": drawn < self.bootstrap_probability}

    def state_dict(self) -> dict[str, Any]:
        return {"member": self.member, "generator": self._generator.get_state()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.member = state_dict["member"]
        self._generator.set_state(state_dict["generator"].cpu())

    def _draw(self) -> Tensor:
        return torch.randint(self.num_members, self._envs.shape, generator=self._generator)
