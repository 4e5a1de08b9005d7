"""How fast each family of environments steps by itself, by how many run side by side and how: a table.

``python scripts/env_throughput.py [seconds per measurement]``. Settings of a family take turns, so that what else the
machine does falls on all of them alike; the best of three turns counts.
"""

import sys
import time
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from qframe.actions.gymnasium_spaces import choices
from qframe.envs import AtariEnvs, Envs, GymnasiumEnvs, MinAtarEnvs, SymbolicGrid

TURNS = 3


def gymnasium_envs(id: str, **options: object) -> Callable[[int, str], Envs]:
    """Environments of an id by their number and vectorization."""
    return lambda num_envs, how: GymnasiumEnvs(id, num_envs=num_envs, vectorization=how, **options)  # pyright: ignore


FAMILIES: dict[str, tuple[Callable[[int, str], Envs], list[tuple[int, str]]]] = {
    "CartPole-v1": (gymnasium_envs("CartPole-v1"), [(8, "sync"), (32, "sync"), (8, "async"), (8, "native")]),
    "LunarLander-v3": (gymnasium_envs("LunarLander-v3"), [(8, "sync"), (32, "sync"), (2, "async"), (8, "async")]),
    "CarRacing-v3": (
        gymnasium_envs("CarRacing-v3", kwargs={"continuous": False}),
        [(1, "sync"), (2, "async"), (8, "async")],
    ),
    "MiniGrid-DoorKey-8x8-v0": (
        gymnasium_envs("MiniGrid-DoorKey-8x8-v0", wrappers=[SymbolicGrid]),
        [(8, "sync"), (32, "sync"), (8, "async")],
    ),
    "MinAtar breakout": (lambda n, how: MinAtarEnvs("breakout", num_envs=n), [(8, "sync"), (32, "sync")]),
    "MinAtar space_invaders": (lambda n, how: MinAtarEnvs("space_invaders", num_envs=n), [(8, "sync")]),
    "Atari pong": (
        lambda n, how: AtariEnvs("pong", num_envs=n, backend=how.split()[0], num_threads=int(how.split()[1])),  # pyright: ignore
        [(8, "ale_vector 1"), (8, "ale_vector 2"), (32, "ale_vector 2"), (8, "gymnasium 1"), (8, "envpool 2"),
         (32, "envpool 2")],
    ),
}  # fmt: skip


def main(seconds: float) -> None:
    """Measure and print a line per setting."""
    print("| environment | side by side | how | steps/s |\n|---|---|---|---|")
    for name, (make, settings) in FAMILIES.items():
        best = dict.fromkeys(settings, 0.0)
        for _ in range(TURNS):
            for setting in settings:
                best[setting] = max(best[setting], steps_per_second(make(*setting), seconds))
        for (num_envs, how), speed in best.items():
            print(f"| {name} | {num_envs} | {how} | {speed:,.0f} |", flush=True)


def steps_per_second(envs: Envs, seconds: float) -> float:
    """Environment steps in a second, with random actions."""
    episodes, rng, count = envs.make(0), np.random.default_rng(0), choices(envs.action_space)[0][0]
    episodes.reset()

    def actions() -> NDArray[np.int64]:
        return rng.integers(0, count, envs.num_envs)

    for _ in range(3):
        episodes.step(actions())
    started, steps = time.perf_counter(), 0
    while time.perf_counter() - started < seconds:
        episodes.step(actions())
        steps += envs.num_envs
    speed = steps / (time.perf_counter() - started)
    episodes.close()
    return speed


if __name__ == "__main__":
    main(float(sys.argv[1]) if len(sys.argv) > 1 else 2.0)
