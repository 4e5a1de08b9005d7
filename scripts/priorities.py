"""How long a prioritized sample and update of 128 takes, by capacity: ``python scripts/priorities.py [CAPACITY…]``.

Full buffers of observations of four numbers take turns call by call, so that other load on the machine slows all of
them alike; only the ratio matters. Ten million transitions take 2.5 GB.
"""

import sys
import time

import numpy as np
import torch
from tensordict import TensorDict
from torch import Tensor

from qframe.replay import ProportionalPriorities, ReplayBuffer

BATCH, CALLS, CHUNK = 128, 2_000, 100_000


def filled(capacity: int) -> ReplayBuffer:
    """A full buffer whose priorities are distributed like |δ| of a trained agent."""
    buffer = ReplayBuffer(capacity, BATCH, gamma=0.99, priorities=ProportionalPriorities())
    chunk = min(CHUNK, capacity)
    flag, observation = torch.zeros(chunk, 1, dtype=torch.bool), torch.zeros(chunk, 4)
    after = {"observation": observation, "reward": torch.ones(chunk, 1)}
    after |= {"terminated": flag, "truncated": flag, "done": flag}
    whole = torch.zeros(chunk, dtype=torch.int64)
    steps = TensorDict({"observation": observation, "action": whole, "env": whole, "next": after}, [chunk])
    while len(buffer) < capacity:
        start = len(buffer)
        buffer.extend(steps)
        buffer.update_priority(torch.arange(start, len(buffer)), _errors(len(buffer) - start, seed=start))
    return buffer


def _errors(count: int, seed: int) -> Tensor:
    return torch.empty(count).exponential_(generator=torch.Generator().manual_seed(seed))


def seconds(buffer: ReplayBuffer, errors: Tensor) -> float:
    """Of one sample and update."""
    start = time.perf_counter()
    index = buffer.sample()["index"]
    buffer.update_priority(index, errors)
    return time.perf_counter() - start


def main(capacities: list[int]) -> None:
    """Measure and print the lower quartile of each capacity, and as a multiple of the first."""
    torch.set_num_threads(1)
    buffers = {capacity: filled(capacity) for capacity in capacities}
    calls = [[seconds(buffer, _errors(BATCH, call)) for buffer in buffers.values()] for call in range(CALLS)]
    quartile = np.quantile(calls, 0.25, axis=0)
    for capacity, one in zip(capacities, quartile, strict=True):
        print(f"{capacity:>12,} transitions  {one * 1e6:8.1f} µs  × {one / quartile[0]:.2f}")


if __name__ == "__main__":
    main([int(word) for word in sys.argv[1:]] or [100_000, 1_000_000, 10_000_000])
