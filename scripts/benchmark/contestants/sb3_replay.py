"""W5 with Stable-Baselines3, which has no prioritized replay."""

import numpy as np
from gymnasium.spaces import Box, Discrete
from replay import BATCH, CHUNK, SIZE, chunks, report
from stable_baselines3.common.buffers import ReplayBuffer

buffer = ReplayBuffer(SIZE, Box(-np.inf, np.inf, (4,)), Discrete(2), device="cpu", n_envs=CHUNK)
for observation, action, reward, terminated, following in chunks():
    buffer.add(observation, following, action.reshape(-1, 1), reward, terminated, [{}] * CHUNK)
report(lambda: buffer.sample(BATCH), None)
