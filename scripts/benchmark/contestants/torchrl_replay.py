"""W5 with TorchRL."""

import warnings

import torch
from replay import BATCH, CHUNK, SIZE, chunks, report
from tensordict import TensorDict
from torchrl.data import LazyTensorStorage, TensorDictPrioritizedReplayBuffer, TensorDictReplayBuffer

warnings.simplefilter("ignore")
torch.set_num_threads(1)
uniform = TensorDictReplayBuffer(storage=LazyTensorStorage(SIZE), batch_size=BATCH)
prioritized = TensorDictPrioritizedReplayBuffer(alpha=0.6, beta=0.4, storage=LazyTensorStorage(SIZE), batch_size=BATCH)
for observation, action, reward, terminated, following in chunks():
    terminated = torch.from_numpy(terminated).unsqueeze(-1)
    after = {
        "observation": torch.from_numpy(following), "reward": torch.from_numpy(reward).unsqueeze(-1),
        "terminated": terminated, "truncated": torch.zeros_like(terminated), "done": terminated,
    }  # fmt: skip
    rows = {"observation": torch.from_numpy(observation), "action": torch.from_numpy(action)}
    rows = TensorDict({**rows, "next": TensorDict(after, [CHUNK])}, [CHUNK])
    uniform.extend(rows)
    prioritized.extend(rows)


def call() -> None:
    sample = prioritized.sample()
    sample["td_error"] = torch.rand(BATCH)
    prioritized.update_tensordict_priority(sample)


report(uniform.sample, call)
