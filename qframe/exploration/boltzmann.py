"""Boltzmann exploration: the greater an action's value, the more likely it is taken."""

from typing import Any, Literal

import torch
from torch import Tensor

from qframe.actions import AnyActionSpace, as_action_space
from qframe.exploration.epsilon_greedy import exploring
from qframe.exploration.protocol import Exploration
from qframe.exploration.schedules import SCHEDULES
from qframe.functional.action import soft


class Boltzmann(Exploration):
    """Draws legal actions from ``π(a|s) ∝ exp(q(s, a) / τ)``, with τ on a schedule.

    See "Reinforcement Learning: An Introduction", Sutton and Barto, 1998, section 2.3. Each branch of a joint
    action is drawn on its own. The action of the greatest ``log π`` plus Gumbel noise is an exact sample of π.

    Args:
        action_space: of the environment, or the action's spec.
        temperature_init: τ > 0 at frame 0, in units of the action values.
        temperature_end: τ > 0 from frame ``annealing_num_steps`` on.
        annealing_num_steps: frames, summed over environments.
        schedule: ``linear`` or ``exponential``.
        seed: of the draws, on the CPU.

    Raises:
        ValueError: a temperature that is not positive, or a schedule that is unknown or shorter than a frame; by
            ``explore``, if the action values are missing.

    >>> from qframe.actions import Categorical
    >>> explore, value = Boltzmann(Categorical(2), 0.5, 0.5), torch.tensor([[0.0, 60.0]])
    >>> explore.explore(torch.tensor([1]), value=value)
    tensor([1])
    >>> explore.probability(torch.tensor([1]), torch.zeros(1, 2))
    tensor([0.5000])
    """

    has_probability = True

    def __init__(
        self,
        action_space: AnyActionSpace,
        temperature_init: float = 1.0,
        temperature_end: float = 0.1,
        annealing_num_steps: int = 1000,
        *,
        schedule: Literal["linear", "exponential"] = "linear",
        seed: int = 0,
    ) -> None:
        for name, temperature in (("temperature_init", temperature_init), ("temperature_end", temperature_end)):
            if not temperature > 0:
                raise ValueError(f"expected {name} above 0, got {temperature}; or use exploration=greedy")
        if schedule not in SCHEDULES:
            raise ValueError(f"expected schedule to be one of {', '.join(SCHEDULES)}, got {schedule!r}")
        self._schedule = SCHEDULES[schedule](temperature_init, temperature_end, annealing_num_steps)
        self._action_space = as_action_space(action_space)
        self._generator = torch.Generator().manual_seed(seed)
        self.frames = 0

    @property
    def temperature(self) -> float:
        """The current τ."""
        return self._schedule(self.frames)

    @property
    def metrics(self) -> dict[str, float]:
        return {"temperature": self.temperature}

    def step(self, frames: int = 1, done: Tensor | None = None) -> None:
        self.frames += frames

    def explore(self, action: Tensor, mask: Tensor | None = None, value: Tensor | None = None) -> Tensor:
        if mask is not None:
            self._action_space.check_mask(mask)
        if value is None:
            raise ValueError("Boltzmann exploration needs action values; call explore(action, mask, value)")
        if not exploring():
            return action
        gumbel = -torch.empty(value.shape).exponential_(generator=self._generator).log()
        log_policy = self._log_policy(value.to(action.device), mask)
        return self._action_space.greedy_index(log_policy + gumbel.to(log_policy), mask)

    def probability(self, action: Tensor, value: Tensor, mask: Tensor | None = None) -> Tensor:
        """μ(a|s), the product over branches of their probabilities."""
        value = value.to(action.device)
        if not exploring():
            return self._action_space.agree(action, self._action_space.greedy_index(value, mask)).float()
        return self._action_space.taken(self._log_policy(value, mask), action).sum(-1).exp()

    def _log_policy(self, value: Tensor, mask: Tensor | None) -> Tensor:
        """log π of each branch, ``[E, ΣA]``; 0 where an action is illegal."""
        sizes = self._action_space.known_sizes
        masks = [None] * len(sizes) if mask is None else mask.split(sizes, -1)
        parts = zip(value.float().split(sizes, -1), masks, strict=True)
        return torch.cat([soft(part, self.temperature, legal).log_prob for part, legal in parts], -1)

    def state_dict(self) -> dict[str, Any]:
        return {"frames": self.frames, "generator": self._generator.get_state()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.frames = state_dict["frames"]
        self._generator.set_state(state_dict["generator"].cpu())
