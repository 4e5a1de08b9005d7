"""Reward transforms, applied before rewards are stored; logged and evaluated returns are the environment's own."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tensordict import TensorDictBase
from torch import Tensor

from qframe.training.bonus import Bonus
from qframe.training.running_returns import RunningReturns

LIMIT = 10.0
LARGE, SMALL = 300.0, 0.01
"""Returns beyond these are far from 1."""


class RewardScale:
    """The size of the discounted returns that the rewards of the warm-up, as they are stored, lead to.

    It is the mean size of a reward times the steps over which rewards are added up: an episode, or ``1 / (1 − γ)`` if
    that is less. Networks learn returns near 1 fastest: the step sizes of optimizers and the initial weights suit them.

    Args:
        gamma: γ.

    >>> scale = RewardScale(0.99)
    >>> scale.add(np.full(1000, -8.0), 5)
    >>> scale.warning()
    'rewards add up to discounted returns of about 800 in size; consider reward.normalize=true, or reward.scale=0.001'
    """

    def __init__(self, gamma: float) -> None:
        self._gamma = gamma
        self._sum = self._largest = 0.0
        self._steps = self._episodes = 0

    def add(self, reward: NDArray[np.floating], ended: int) -> None:
        """Add the rewards of some steps, of which some ended an episode."""
        size = np.abs(reward)
        self._sum, self._largest = self._sum + float(size.sum()), max(self._largest, float(size.max(initial=0.0)))
        self._steps, self._episodes = self._steps + size.size, self._episodes + ended

    def warning(self) -> str | None:
        """A warning if returns are far from 1: the mean one too large, or even the largest one too small."""
        length = self._steps / max(1, self._episodes)
        horizon = length if self._gamma == 1 else min(length, 1 / (1 - self._gamma))
        mean, largest = horizon * self._sum / max(1, self._steps), horizon * self._largest
        if mean <= LARGE and not 0 < largest < SMALL:
            return None
        size = mean if mean > LARGE else largest
        return (
            f"rewards add up to discounted returns of about {float(f'{size:.2g}'):g} in size; consider "
            f"reward.normalize=true, or reward.scale={1 / size:.1g}"
        )

    def state_dict(self) -> dict[str, Any]:
        """The sums so far."""
        return {name: value for name, value in vars(self).items() if name != "_gamma"}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Resume from ``state``."""
        vars(self).update(state)


class RewardTransform:
    """``clip(scale · r / σ, low, high) + bonus``, where each operation is optional; the bonus may stand apart.

    σ is the running standard deviation of the environments' discounted returns ``R ← γ · R + r``, which start from 0
    with every episode. Rewards divided by σ are clipped to ±10, because its first estimates rest on few returns.
    See "Human-level control through deep reinforcement learning", Mnih et al., 2015, Methods, for clipping, and
    "Implementation Matters in Deep Policy Gradients", Engstrom et al., 2020, section 3, for σ.

    Args:
        clip: low and high; None leaves rewards as they are.
        scale: a factor above 0.
        normalize: whether rewards are divided by σ.
        gamma: γ of the returns.
        num_envs: E.
        bonus: a reward for novelty; None for none.

    Raises:
        ValueError: bounds that are not two increasing numbers, or a scale that is not above 0.

    >>> reward, done = np.array([-5.0, 0.5], np.float32), np.array([False, False])
    >>> RewardTransform(clip=[-1, 1], scale=0.5, normalize=False, gamma=0.99, num_envs=2)(reward, done)
    array([-1.  ,  0.25])
    """

    def __init__(
        self,
        *,
        clip: Sequence[float] | None,
        scale: float,
        normalize: bool,
        gamma: float,
        num_envs: int,
        bonus: Bonus | None = None,
    ) -> None:
        if clip is not None and not (len(clip) == 2 and -math.inf < clip[0] < clip[1] < math.inf):
            raise ValueError(f"expected clip to be two increasing numbers, such as [-1, 1], or null, got {clip}")
        if not 0 < scale < math.inf:
            raise ValueError(f"expected scale above 0, got {scale}")
        self._low, self._high = (-math.inf, math.inf) if clip is None else clip
        self._scale, self._normalizes, self.bonus = scale, normalize, bonus
        self._returns = RunningReturns(num_envs, gamma)

    @property
    def is_identity(self) -> bool:
        """Whether rewards stay as they are."""
        return math.isinf(self._high) and self._scale == 1 and not self._normalizes and self.bonus is None

    def __call__(
        self,
        reward: NDArray[np.floating],
        done: NDArray[np.bool_],
        valid: NDArray[np.bool_] | None = None,
        observation: Tensor | TensorDictBase | None = None,
    ) -> NDArray[np.float64]:
        """Transform the rewards of one step of E environments.

        Args:
            reward: ``[E]``.
            done: ``[E]``, where an episode ended.
            valid: ``[E]``, False where an environment only reset itself; None if none did.
            observation: ``[E, …]``, after the step; for the bonus.

        Returns:
            ``[E]``; ``[E, 2]`` if the bonus stands apart, in the second column.
        """
        scaled = reward.astype(np.float64)
        if self._normalizes:
            self._returns.add(scaled, valid)
            self._returns.restart(done)
            scaled = np.clip(scaled / self._returns.deviation, -LIMIT, LIMIT)
        scaled *= self._scale
        scaled = np.clip(scaled, self._low, self._high)
        if self.bonus is None or observation is None:
            return scaled
        bonus = self.bonus(observation, valid)
        return np.stack([scaled, bonus], -1) if self.bonus.stands_apart else scaled + bonus

    def state_dict(self) -> dict[str, Any]:
        """The statistics, the discounted returns of the running episodes, and the state of the bonus."""
        bonus = {} if self.bonus is None else {"bonus": self.bonus.state_dict()}
        return self._returns.state_dict() | bonus

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Resume from ``state``."""
        self._returns.load_state_dict(state)
        if self.bonus is not None and "bonus" in state:
            self.bonus.load_state_dict(state["bonus"])

    def abandon(self) -> None:
        """Forget the returns of the running episodes."""
        self._returns.restart()
