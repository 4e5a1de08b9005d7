"""Tasks that only an agent with a memory solves: what decides is seen at the beginning, and needed at the end."""

from typing import Any, ClassVar

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray


class TMaze(gym.Env[NDArray[np.float32], np.int64]):
    """A corridor with a junction at its end: the first observation alone says whether the goal is up or down there.

    An episode has ``length + 1`` steps: ``length`` to the right, and one up or down. Each of the first that leaves the
    agent behind that pace costs ``1 / length``; ending at the goal is worth 1, the best return. Without a memory the
    best policy gets 0.5 in the mean. The infos of an episode's last step have ``is_success``. See "When Do Transformers
    Shine in RL? Decoupling Memory from Credit Assignment", Ni et al., 2023, section 4 (the passive T-Maze).

    Observations are float32 ``[3]``: whether the agent stands at the junction's column; its row; and the goal's row, 1
    (up) or −1 (down), in the first observation, 0 in all others. Actions are right, up, left and down.

    Args:
        length: steps from the start to the junction, at least 1.

    Raises:
        ValueError: ``length`` below 1.

    >>> env = TMaze(2)
    >>> observation, _ = env.reset(seed=0)
    >>> observation.tolist()
    [0.0, 0.0, 1.0]
    """

    MOVES: ClassVar = ((1, 0), (0, 1), (-1, 0), (0, -1))  # right, up, left, down
    metadata: dict[str, Any] = {"render_modes": []}  # noqa: RUF012  # as Gymnasium declares it

    def __init__(self, length: int = 10) -> None:
        if length < 1:
            raise ValueError(f"expected a length of at least 1, got {length}")
        self.length = length
        self.observation_space = spaces.Box(-1.0, 1.0, (3,), np.float32)
        self.action_space = spaces.Discrete(4)
        self._column = self._row = self._steps = 0
        self._goal = 1

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self._column = self._row = self._steps = 0
        self._goal = 1 if self.np_random.integers(2) else -1
        return self._observation(), {}

    def step(self, action: np.int64) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        right, up = self.MOVES[int(action)]
        column, row = self._column + right, self._row + up
        if 0 <= column <= self.length and (row == 0 or (abs(row) == 1 and column == self.length)):
            self._column, self._row = column, row
        self._steps += 1
        if self._steps <= self.length:
            cost = 1 / self.length if self._column < self._steps else 0.0
            return self._observation(), -cost, False, False, {}
        found = self._row == self._goal
        return self._observation(), float(found), True, False, {"is_success": found}

    def _observation(self) -> NDArray[np.float32]:
        cue = self._goal if self._steps == 0 else 0
        return np.array([self._column == self.length, self._row, cue], np.float32)


class MemoryChain(gym.Env[NDArray[np.float32], np.int64]):
    """Bits that are shown first, of which one has to be recalled last: bsuite's memory experiments.

    The last of ``length + 1`` steps is worth 1 if its action is the bit asked for, otherwise −1; all others are worth
    0, whatever the action. The infos of the last step have ``is_success``. See "Behaviour Suite for Reinforcement
    Learning", Osband et al., 2020, memory length and memory size.

    Observations are float32 ``[2 + bits]``: the share of time left; the number of the bit asked for, in the last
    observation that an action follows; and the bits as ±1 at time 0, else 0. As in bsuite, time begins with the second
    observation, so that the first two are equal, and the number asked for is not scaled.

    Args:
        length: steps for which the bits have to be remembered, at least 2.
        bits: number of bits, at least 1.

    Raises:
        ValueError: ``length`` below 2, or ``bits`` below 1.

    >>> env = MemoryChain(5)
    >>> observation, _ = env.reset(seed=0)
    >>> observation.tolist()
    [1.0, 0.0, 1.0]
    """

    metadata: dict[str, Any] = {"render_modes": []}  # noqa: RUF012  # as Gymnasium declares it

    def __init__(self, length: int = 10, *, bits: int = 1) -> None:
        if length < 2 or bits < 1:
            raise ValueError(f"expected a length of at least 2 and at least 1 bit, got length={length} and bits={bits}")
        self.length = length
        low, high = np.full(2 + bits, -1, np.float32), np.ones(2 + bits, np.float32)
        low[:2], high[1] = 0, max(1, bits - 1)
        self.observation_space = spaces.Box(low, high)
        self.action_space = spaces.Discrete(2)
        self._bits, self._query, self._steps = np.zeros(bits, np.int64), 0, 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self._bits = self.np_random.integers(2, size=self._bits.size)
        self._query, self._steps = int(self.np_random.integers(self._bits.size)), 0
        return self._observation(), {}

    def step(self, action: np.int64) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self._steps += 1
        if self._steps <= self.length:
            return self._observation(), 0.0, False, False, {}
        is_right = bool(action == self._bits[self._query])
        return self._observation(), 1.0 if is_right else -1.0, True, False, {"is_success": is_right}

    def _observation(self) -> NDArray[np.float32]:
        time = max(0, self._steps - 1)
        shown = np.zeros(2 + self._bits.size, np.float32)
        shown[0] = 1 - time / self.length
        shown[1] = self._query if time == self.length - 1 else 0
        shown[2:] = 2 * self._bits - 1 if time == 0 else 0
        return shown


class MaskVelocity(gym.ObservationWrapper[Any, Any, Any]):
    """Sets the velocities in the observations to 0, which only their changes over time then show.

    Args:
        env: with observations of one dimension.
        velocities: places of the velocities; None: those of Gymnasium's classic control and LunarLander.

    Raises:
        ValueError: other observations, places that they do not have, or an environment whose velocities are not known.
    """

    KNOWN: ClassVar = {
        "CartPole": (1, 3), "Acrobot": (4, 5), "MountainCar": (1,), "MountainCarContinuous": (1,), "Pendulum": (2,),
        "LunarLander": (2, 3, 5), "LunarLanderContinuous": (2, 3, 5),
    }  # fmt: skip

    def __init__(self, env: gym.Env[Any, Any], *, velocities: tuple[int, ...] | list[int] | None = None) -> None:
        super().__init__(env)
        space, name = env.observation_space, env.spec.name if env.spec else type(env.unwrapped).__name__
        if not isinstance(space, spaces.Box) or len(space.shape) != 1:
            raise ValueError(f"expected observations of one dimension, got {space}")
        if velocities is None and name not in self.KNOWN:
            raise ValueError(f"the velocities of {name} are not known; name their places, such as velocities=[1, 3]")
        places = list(self.KNOWN[name] if velocities is None else velocities)
        if odd := [place for place in places if not 0 <= place < space.shape[0]]:
            raise ValueError(f"expected places from 0 to {space.shape[0] - 1}, got {odd[0]}")
        self._places = places
        low, high = space.low.copy(), space.high.copy()
        low[places], high[places] = np.minimum(low[places], 0), np.maximum(high[places], 0)
        self.observation_space = spaces.Box(low, high, dtype=space.dtype.type)

    def observation(self, observation: NDArray[Any]) -> NDArray[Any]:
        """The observation without velocities."""
        masked = np.array(observation)
        masked[self._places] = 0
        return masked
