"""W5 with Tianshou, whose sum tree is compiled by numba."""

import numpy as np
from replay import BATCH, SIZE, chunks, report
from tianshou.data import Batch, PrioritizedReplayBuffer, ReplayBuffer

uniform, prioritized = ReplayBuffer(SIZE), PrioritizedReplayBuffer(SIZE, alpha=0.6, beta=0.4)
for buffer in (uniform, prioritized):
    row = Batch(
        obs=np.zeros(4, np.float32), act=0, rew=0.0, terminated=False, truncated=False,
        obs_next=np.zeros(4, np.float32), info={},
    )  # fmt: skip
    buffer.add(row)
    at = 0
    for observation, action, reward, terminated, following in chunks():
        span = slice(at, at + len(action))
        for name, column in zip(
            ("obs", "act", "rew", "terminated", "done", "obs_next"),
            (observation, action, reward, terminated, terminated, following), strict=True,
        ):  # fmt: skip
            getattr(buffer._meta, name)[span] = column
        at = span.stop
    buffer._size, buffer._insertion_idx = SIZE, 0
prioritized.init_weight(np.arange(SIZE))
error = np.random.default_rng(0).random(BATCH)


def call() -> None:
    _, index = prioritized.sample(BATCH)
    prioritized.update_weight(index, error)


report(lambda: uniform.sample(BATCH), call)
