"""ε-greedy exploration, with ε on a schedule in closed form."""

from typing import Any, Literal

import torch
from tensordict import TensorDictBase
from tensordict.nn import InteractionType as ExplorationType
from tensordict.nn import TensorDictModuleBase, dispatch
from tensordict.nn import interaction_type as exploration_type
from tensordict.nn import set_interaction_type as set_exploration_type
from torch import Tensor

from qframe.actions import AnyActionSpace, as_action_space
from qframe.actions.action_space import check_boolean
from qframe.exploration.protocol import Exploration
from qframe.exploration.schedules import epsilon_schedule
from qframe.keys import ACTION, NestedKey, required

__all__ = ["EGreedyModule", "ExplorationType", "exploration_type", "set_exploration_type"]


class EGreedyModule(TensorDictModuleBase, Exploration):
    """Replaces each environment's action with probability ε by a uniformly random legal one.

    See "Human-level control through deep reinforcement learning", Mnih et al., 2015, Methods.

    ε is a closed form of the frames counted by ``step``. The module draws from its own generator, on the CPU, so that
    draws are the same on every device; the generator and the frame count are in the ``state_dict``. Under
    ``set_exploration_type`` with anything but ``RANDOM`` the action is kept and nothing is drawn.

    Args:
        spec: the action space, the action's spec, or a ``Composite`` that holds it under ``action_key``.
        eps_init: ε at frame 0, in [0, 1].
        eps_end: ε from frame ``annealing_num_steps`` on, in [0, 1].
        annealing_num_steps: frames, summed over environments.
        schedule: ``linear`` or ``exponential``.
        action_key: the action that is replaced.
        action_mask_key: the mask, bool, True = legal, broadcastable to ``[*B, A]``; None: all actions are legal.
        seed: of the draws.

    Raises:
        ValueError: ε outside [0, 1], or a schedule that is unknown or shorter than a frame.
        KeyError: called without the action or the mask.
        TypeError: the mask is not boolean.
        RuntimeError: an environment has no legal action; the message names it.

    >>> from qframe.actions import Categorical
    >>> explore = EGreedyModule(Categorical(4), eps_init=1.0, eps_end=0.05, annealing_num_steps=1000)
    >>> explore.step(500)
    >>> explore.epsilon
    0.525
    >>> explore.explore(torch.zeros(8, dtype=torch.int64)).shape
    torch.Size([8])
    """

    has_probability = True

    def __init__(
        self,
        spec: AnyActionSpace,
        eps_init: float = 1.0,
        eps_end: float = 0.1,
        annealing_num_steps: int = 1000,
        *,
        schedule: Literal["linear", "exponential"] = "linear",
        action_key: NestedKey = ACTION,
        action_mask_key: NestedKey | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.schedule = epsilon_schedule(schedule, eps_init, eps_end, annealing_num_steps)
        self.action_space = as_action_space(spec, action_key)
        self.action_key, self.action_mask_key = action_key, action_mask_key
        keys: list[Any] = [action_key] + ([] if action_mask_key is None else [action_mask_key])
        self.in_keys, self.out_keys = keys, keys[:1]
        self.frames = 0
        self.generator = torch.Generator().manual_seed(seed)

    @property
    def epsilon(self) -> float:
        """The current ε."""
        return self.schedule(self.frames)

    @property
    def metrics(self) -> dict[str, float]:
        return {"epsilon": self.epsilon}

    def step(self, frames: int = 1, done: Tensor | None = None) -> None:
        self.frames += frames

    @dispatch(auto_batch_size=False)
    def forward(self, tensordict: TensorDictBase) -> TensorDictBase:
        """Read the action and the mask, write the action."""
        action = required(tensordict, self.action_key, "the action")
        mask_key = self.action_mask_key
        mask = None if mask_key is None else required(tensordict, mask_key, "the action mask")
        batch, space = action.shape[: action.ndim - (self.action_space.encoding != "categorical")], self.action_space
        if mask is not None:
            mask = mask.expand(*batch, space.num_actions)
            self._check_mask(mask)
        if not exploring():
            return tensordict
        score = 0.5 - torch.rand(*batch, space.num_actions, generator=self.generator, device="cpu")
        random = space.greedy_action(score.to(action.device), mask).to(action.dtype)
        replaced = self._replaced(batch, action.device).reshape((*batch, *[1] * (action.ndim - len(batch))))
        return tensordict.set(self.action_key, torch.where(replaced, random, action))

    def explore(self, action: Tensor, mask: Tensor | None = None, value: Tensor | None = None) -> Tensor:
        """Explore with indices, without a tensordict."""
        if mask is not None:
            self.action_space.check_mask(mask)
        if not exploring():
            return action
        space = self.action_space
        if mask is None and not space.is_joint:
            random = torch.randint(space.width, action.shape, generator=self.generator, device="cpu")
            return torch.where(self._replaced(action.shape, action.device), random.to(action.device), action)
        random = space.random_index(action, mask, self.generator)
        replaced = self._replaced(space.batch(action), action.device)
        return torch.where(space.over_branches(replaced), random, action)

    def probability(self, action: Tensor, value: Tensor, mask: Tensor | None = None) -> Tensor:
        """μ(a|s), ``(1 − ε) · 1[a greedy] + ε / number of legal actions``."""
        space = self.action_space
        is_greedy = space.agree(action, space.greedy_index(value.to(action.device), mask)).float()
        if not exploring():
            return is_greedy
        epsilon = self._epsilons()
        return (1 - epsilon) * is_greedy + epsilon / space.num_legal(action, mask)

    def get_extra_state(self) -> dict[str, Any]:
        """The frame count and the generator's state, for ``state_dict``."""
        return {"frames": self.frames, "generator": self.generator.get_state()}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Restore a saved state."""
        self.frames = state["frames"]
        self.generator.set_state(state["generator"].cpu())

    def _epsilons(self) -> float | Tensor:
        """ε of every environment; where they differ, ``[E]``."""
        return self.epsilon

    def _replaced(self, batch: torch.Size, device: torch.device) -> Tensor:
        """Which environments explore, one draw each."""
        return (torch.rand(batch, generator=self.generator, device="cpu") < self._epsilons()).to(device)

    def _check_mask(self, mask: Tensor) -> None:
        if self.action_space.encoding == "binary":  # a masked bit is 0: there is always a legal action
            check_boolean(mask)
        else:
            self.action_space.check_mask(mask)


def exploring() -> bool:
    """Whether exploration is on: no ``set_exploration_type`` is active, or it is ``RANDOM``."""
    return exploration_type() in (None, ExplorationType.RANDOM)
