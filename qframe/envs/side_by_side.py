"""Environments that are stepped one after another in this process."""

from collections.abc import Callable, Sequence
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from gymnasium.vector.utils import concatenate, iterate
from numpy.typing import NDArray


class SideBySide(SyncVectorEnv[Any, Any]):
    """Gymnasium's ``SyncVectorEnv`` without automatic resets, its step with less work for each environment.

    Observations are views that the next step overwrites.

    Args:
        makers: make the environments.
    """

    def __init__(self, makers: Sequence[Callable[[], gym.Env[Any, Any]]]) -> None:
        super().__init__(makers, copy=False, autoreset_mode=AutoresetMode.DISABLED)

    def step(
        self, actions: Any
    ) -> tuple[Any, NDArray[np.float64], NDArray[np.bool_], NDArray[np.bool_], dict[str, Any]]:
        """Step every environment; one whose episode has ended must have been reset."""
        results: list[tuple[Any, ...]] = []
        for env, action in zip(self.envs, iterate(self.action_space, actions), strict=True):
            results.append(env.step(action))
        seen, rewards, terminated, truncated, given = zip(*results, strict=True)
        self._env_obs = list(seen)
        infos: dict[str, Any] = {}
        for index, info in enumerate(given):
            if info:
                infos = self._add_info(infos, info, index)
        self._observations = concatenate(self.single_observation_space, self._env_obs, self._observations)
        ends = np.array(terminated, dtype=np.bool_), np.array(truncated, dtype=np.bool_)
        self._autoreset_envs = ends[0] | ends[1]
        return self._observations, np.array(rewards, dtype=np.float64), *ends, infos
