"""``SideBySide`` steps like Gymnasium's ``SyncVectorEnv``."""

import gymnasium as gym
import numpy as np
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from qframe.envs.side_by_side import SideBySide


class Reporting(gym.Wrapper):
    """Infos in some steps."""

    def step(self, action):
        observation, reward, terminated, truncated, _ = self.env.step(action)
        info = {"angle": float(observation[2]), "nested": {"action": int(action)}}
        return observation, reward, terminated, truncated, info if observation[0] > 0 else {}


def test_steps_and_resets_are_those_of_gymnasium():
    makers = [lambda: Reporting(gym.make("CartPole-v1"))] * 3
    ours, theirs = SideBySide(makers), SyncVectorEnv(makers, autoreset_mode=AutoresetMode.DISABLED)
    rng, ends, infos = np.random.default_rng(0), 0, 0
    np.testing.assert_array_equal(ours.reset(seed=1)[0], theirs.reset(seed=1)[0])
    for _ in range(100):
        action = rng.integers(0, 2, 3)
        found, right = ours.step(action), theirs.step(action)
        for own, other in zip(found[:4], right[:4], strict=True):
            assert own.dtype == other.dtype
            np.testing.assert_array_equal(own, other)
        assert str(found[4]) == str(right[4])
        infos += bool(right[4])
        if (done := right[2] | right[3]).any():
            ends += 1
            starts = [envs.reset(seed=[7, 8, 9], options={"reset_mask": done})[0] for envs in (ours, theirs)]
            np.testing.assert_array_equal(*starts)
    assert ends
    assert infos
