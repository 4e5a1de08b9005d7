"""εz-greedy exploration: random actions, each repeated for a random number of steps."""

from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from qframe.actions import AnyActionSpace, as_action_space
from qframe.exploration.epsilon_greedy import exploring
from qframe.exploration.protocol import Exploration
from qframe.exploration.schedules import epsilon_schedule


class EZGreedy(Exploration):
    """εz-greedy: with probability ε an environment starts a random action and repeats it for n ~ zeta(μ) steps.

    It reaches goals many equal actions away, whereas ε-greedy rarely moves far. See
    "Temporally-Extended ε-Greedy Exploration", Dabney et al., 2021, section 4.

    The repeated action is drawn from the legal ones, and a repetition ends where its action is not legal. An action
    depends on the steps before it, so it has no probability given the observation alone.

    Args:
        action_space: of the environment, or the action's spec.
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

    >>> from qframe.actions import Categorical
    >>> explore = EZGreedy(Categorical(3), 1.0, 0.05, 1000, num_envs=2)
    >>> explore.explore(torch.zeros(2, dtype=torch.int64)).shape
    torch.Size([2])
    """

    def __init__(
        self,
        action_space: AnyActionSpace,
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
        self._mu, self._max_duration = mu, max_duration
        self._action_space = as_action_space(action_space)
        self._remaining = np.zeros(num_envs, dtype=np.int64)
        branches = (len(self._action_space.known_sizes),) if self._action_space.is_joint else ()
        self._held = torch.zeros(num_envs, *branches, dtype=torch.int64)
        self._rng = np.random.default_rng(seed)
        self.frames = 0

    @property
    def epsilon(self) -> float:
        """The current probability of starting a repetition."""
        return self._schedule(self.frames)

    @property
    def metrics(self) -> dict[str, float]:
        return {"epsilon": self.epsilon}

    def step(self, frames: int = 1, done: Tensor | None = None) -> None:
        """Count environment steps; a repetition continues into the next episode, as in the paper's algorithm."""
        self.frames += frames

    def explore(self, action: Tensor, mask: Tensor | None = None, value: Tensor | None = None) -> Tensor:
        """The greedy index, or the one that the environment repeats."""
        if mask is not None:
            self._action_space.check_mask(mask)
        if not exploring():
            return action
        if mask is not None:
            mask = mask.cpu()
            self._remaining[~self._action_space.is_legal(self._held, mask).numpy()] = 0
        starts = (self._remaining == 0) & (self._rng.random(len(self._held)) < self.epsilon)
        drawn, duration = self._draw(mask), self._rng.zipf(self._mu, len(self._held))
        self._held = torch.where(self._per_action(starts), drawn, self._held)
        self._remaining = np.where(starts, np.minimum(duration, self._max_duration), self._remaining)
        repeats = self._remaining > 0
        self._remaining -= repeats
        return torch.where(self._per_action(repeats), self._held, action.cpu()).to(action.device)

    def state_dict(self) -> dict[str, Any]:
        return {
            "frames": self.frames,
            "remaining": self._remaining.tolist(),
            "held": self._held.tolist(),
            "generator": self._rng.bit_generator.state,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.frames = state_dict["frames"]
        self._remaining, self._held = np.array(state_dict["remaining"]), torch.tensor(state_dict["held"])
        self._rng.bit_generator.state = state_dict["generator"]

    def _draw(self, mask: Tensor | None) -> Tensor:
        """Uniformly random legal actions, like the held ones."""
        if mask is None and not self._action_space.is_joint:
            return torch.from_numpy(self._rng.integers(self._action_space.width, size=len(self._held)))
        score = self._rng.random((len(self._held), self._action_space.width))
        return self._action_space.greedy_index(torch.from_numpy(score), mask)

    def _per_action(self, flag: np.ndarray) -> Tensor:
        return self._action_space.over_branches(torch.from_numpy(flag))
