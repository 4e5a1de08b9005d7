"""W5 with qframe."""

import torch
from replay import BATCH, CHUNK, SIZE, chunks, report
from tensordict import TensorDict

from qframe.replay import ProportionalPriorities, ReplayBuffer

torch.set_num_threads(1)
uniform = ReplayBuffer(SIZE, BATCH, gamma=0.99, num_envs=CHUNK)
prioritized = ReplayBuffer(SIZE, BATCH, gamma=0.99, num_envs=CHUNK, priorities=ProportionalPriorities())
for observation, action, reward, terminated, following in chunks():
    terminated = torch.from_numpy(terminated).unsqueeze(-1)
    after = {
        "observation": torch.from_numpy(following), "reward": torch.from_numpy(reward).unsqueeze(-1),
        "terminated": terminated, "truncated": torch.zeros_like(terminated), "done": terminated,
    }  # fmt: skip
    rows = {"observation": torch.from_numpy(observation), "action": torch.from_numpy(action)}
    rows = TensorDict({**rows, "env": torch.arange(CHUNK), "next": TensorDict(after, [CHUNK])}, [CHUNK])
    uniform.extend(rows)
    prioritized.extend(rows)
error = torch.rand(BATCH)
batch, weighted = uniform.sample(), prioritized.sample()  # every call overwrites them


def call() -> None:
    prioritized.sample(reuse=weighted)
    prioritized.update_priority(weighted.get("index"), error)


report(lambda: uniform.sample(reuse=batch), call)
