"""Exploration that lasts: random actions repeated for a random while."""

from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from qframe.data.specs import DiscreteSpec
from qframe.modules.exploration import epsilon_schedule


class EZGreedy:
    """εz-greedy: with probability ε an environment starts a random action and repeats it for n ~ zeta(μ) steps.

    Where a goal lies behind many equal actions in a row, ε-greedy dithers in place; this walks.
    See "Temporally-Extended ε-Greedy Exploration", Dabney et al., 2021, section 4.

    Args:
        spec: the action's spec.
        eps_init: ε at frame 0, in [0, 1].
        eps_end: ε from frame ``annealing_num_steps`` on, in [0, 1].
        annealing_num_steps: frames, summed over environments.
        schedule: ``linear`` or ``exponential``.
        mu: μ > 1 of the durations, ``P(n) ∝ n^−μ``.
        max_duration: longest repetition, in steps.
        num_envs: E.
        seed: of the module's own generator.

    Raises:
        ValueError: a number out of range, or an unknown schedule.

    >>> from qframe.data import Categorical
    >>> explore = EZGreedy(Categorical(3), 1.0, 0.05, 1000, num_envs=2)
    >>> explore.explore(torch.zeros(2, dtype=torch.int64)).shape
    torch.Size([2])
    """

    def __init__(
        self,
        spec: DiscreteSpec,
        eps_init: float,
        eps_end: float,
        annealing_num_steps: int,
        *,
        schedule: Literal["linear", "exponential"] = "linear",
        mu: float = 2.0,
        max_duration: int = 100,
        num_envs: int,
        seed: int = 0,
    ) -> None:
        if not mu > 1 or max_duration < 1:
            raise ValueError(f"expected mu above 1 and max_duration of at least 1, got {mu} and {max_duration}")
        self._schedule = epsilon_schedule(schedule, eps_init, eps_end, annealing_num_steps)
        self._num_actions, self._mu, self._max_duration = spec.num_actions, mu, max_duration
        self._remaining = np.zeros(num_envs, dtype=np.int64)
        self._held = np.zeros(num_envs, dtype=np.int64)
        self._rng = np.random.default_rng(seed)
        self.frames = 0

    @property
    def epsilon(self) -> float:
        """The probability of starting a repetition, now."""
        return self._schedule(self.frames)

    def step(self, frames: int = 1) -> None:
        """Count environment steps."""
        self.frames += frames

    def explore(self, action: Tensor, mask: Tensor | None = None) -> Tensor:
        """Greedy indices ``[E]``, or the action that an environment is repeating.

        Args:
            action: greedy indices ``[E]``.
            mask: legal actions ``[E, A]``, bool; a repetition ends where its action is illegal.
        """
        envs = len(self._held)
        starts = (self._remaining == 0) & (self._rng.random(envs) < self.epsilon)
        drawn, duration = self._rng.integers(self._num_actions, size=envs), self._rng.zipf(self._mu, envs)
        self._held = np.where(starts, drawn, self._held)
        self._remaining = np.where(starts, np.minimum(duration, self._max_duration), self._remaining)
        if mask is not None:
            self._remaining[~mask.cpu().numpy()[np.arange(envs), self._held]] = 0
        repeats = self._remaining > 0
        self._remaining -= repeats
        return torch.where(torch.from_numpy(repeats), torch.from_numpy(self._held), action.cpu()).to(action.device)

    def state_dict(self) -> dict[str, Any]:
        """Frames, running repetitions and the generator's state."""
        return {
            "frames": self.frames,
            "remaining": self._remaining.tolist(),
            "held": self._held.tolist(),
            "generator": self._rng.bit_generator.state,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from ``state``."""
        self.frames = state["frames"]
        self._remaining, self._held = np.array(state["remaining"]), np.array(state["held"])
        self._rng.bit_generator.state = state["generator"]
