"""DeepSea: a treasure that only one of 2^N sequences of actions finds, to measure exploration."""

from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray


class DeepSea(gym.Env[NDArray[np.float32], np.int64]):
    """A dive from the top left of an N × N grid, one row per step, to a treasure at the bottom right.

    Each step moves one column to the right, at a cost of 0.01 / N, or to the left. Which action moves right is drawn
    for each cell. Only N moves to the right collect the reward of 1; the best return is 0.99. See "Behaviour Suite for
    Reinforcement Learning", Osband et al., 2020, Deep Sea; and "Deep Exploration via Randomized Value Functions",
    Osband et al., 2019, section 3.

    Observations are one-hot cells, float32 ``[N, N]``; all zeros after the last row.

    Args:
        size: N ≥ 1, steps of an episode.
        mapping_seed: of the draw of right actions: part of the task, not of an episode.

    Raises:
        ValueError: ``size`` below 1.

    >>> env = DeepSea(3)
    >>> observation, _ = env.reset(seed=0)
    >>> observation[0].tolist()
    [1.0, 0.0, 0.0]
    """

    metadata: dict[str, Any] = {"render_modes": []}  # noqa: RUF012  # as Gymnasium declares it

    def __init__(self, size: int = 10, *, mapping_seed: int = 42) -> None:
        if size < 1:
            raise ValueError(f"expected a size of at least 1, got {size}")
        self.size = size
        self.right = np.random.default_rng(mapping_seed).integers(2, size=(size, size))
        """The action that moves right, by row and column."""
        self.observation_space = spaces.Box(0.0, 1.0, (size, size), np.float32)
        self.action_space = spaces.Discrete(2)
        self._row = self._column = 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self._row = self._column = 0
        return self._observation(), {}

    def step(self, action: np.int64) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        moves_right = int(action) == self.right[self._row, self._column]
        found = moves_right and self._column == self.size - 1
        reward = float(found) - (0.01 / self.size if moves_right else 0.0)
        self._column = min(self._column + 1, self.size - 1) if moves_right else max(self._column - 1, 0)
        self._row += 1
        return self._observation(), reward, self._row == self.size, False, {}

    def _observation(self) -> NDArray[np.float32]:
        cells = np.zeros((self.size, self.size), np.float32)
        if self._row < self.size:
            cells[self._row, self._column] = 1.0
        return cells
