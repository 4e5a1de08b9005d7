"""W5's work: a million transitions of CartPole's size, then samples of 128, with and without priorities."""

import json
import time
from collections.abc import Callable
from typing import Any

import numpy as np

SIZE, BATCH, CHUNK = 1_000_000, 128, 1_000


def chunks() -> Any:
    """The transitions, in chunks of arrays."""
    generator = np.random.default_rng(0)
    for _ in range(SIZE // CHUNK):
        yield (
            generator.standard_normal((CHUNK, 4), dtype=np.float32), generator.integers(0, 2, CHUNK),
            generator.standard_normal(CHUNK, dtype=np.float32), generator.random(CHUNK) < 0.01,
            generator.standard_normal((CHUNK, 4), dtype=np.float32),
        )  # fmt: skip


def microseconds(call: Callable[[], Any], calls: int = 300, blocks: int = 9) -> float:
    """The processor time of a call, the median over blocks."""
    taken = []
    for _ in range(blocks):
        started = time.process_time()
        for _ in range(calls):
            call()
        taken.append((time.process_time() - started) / calls * 1e6)
    return float(np.median(taken[1:]))


def report(uniform: Callable[[], Any], prioritized: Callable[[], Any] | None) -> None:
    """Time both and print them."""
    measured = {"uniform_microseconds": microseconds(uniform)}
    if prioritized is not None:
        measured["prioritized_microseconds"] = microseconds(prioritized)
    print(json.dumps(measured))
