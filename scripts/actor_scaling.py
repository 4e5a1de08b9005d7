"""Frames per second of 1, 2, 4 and 8 actors whose environment sleeps 5 ms a step, and the memory of an actor.

An environment that waits shows how actors scale on a machine with fewer cores than actors.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))
from qframe.envs import GymnasiumEnvs
from qframe.training import RewardTransform
from qframe.training.ray_collector import RayCollector
from scripts.actor_kills import actors
from tests.runners import make_runner

IMPORTS = "import os, ray, qframe.training.actor, scripts.actor_scaling as s; print(s.resident(os.getpid()))"


def resident(pid: int) -> float:
    """The resident memory of a process, in MB."""
    (line,) = (line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) / 1e3


class Sleeping(gym.Env):
    """Takes 5 ms a step."""

    observation_space, action_space = gym.spaces.Box(-1, 1, (4,)), gym.spaces.Discrete(2)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        return np.zeros(4, np.float32), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        time.sleep(0.005)
        return np.zeros(4, np.float32), 1.0, bool(self.np_random.random() < 0.01), False, {}


def reward_of(num_envs: int) -> RewardTransform:
    return RewardTransform(clip=None, scale=1.0, normalize=False, gamma=0.9, num_envs=num_envs)


def frames_per_second(number: int, seconds: float) -> tuple[float, float]:
    """Of a number of actors with one environment each, and the resident memory of the largest one in MB."""
    gym.register("Sleeping-v0", lambda **_: Sleeping())
    runner = make_runner(Path(tempfile.mkdtemp()), "Sleeping-v0", num_envs=number)
    made: Any = runner.collector
    collector = RayCollector(
        GymnasiumEnvs("Sleeping-v0", num_envs=number, vectorization="sync"), runner.network,
        actors=number, steps=32, lag=1, order="fixed", address=None, cpus=0.125, resources={}, timeout=300.0,
        exploration=made.exploration, action_space=made._action_space, make_reward=reward_of, seed=0,
    )  # fmt: skip
    for _ in range(64):
        collector.collect()
    started, frames = time.perf_counter(), 0
    while time.perf_counter() - started < seconds or frames % (32 * number):
        frames += len(collector.collect())
    rate = frames / (time.perf_counter() - started)
    memory = max(map(resident, actors(os.getpid())))
    collector.close()
    return rate, memory


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--actors", type=int, nargs="+", default=[1, 2, 4, 8])
    parser.add_argument("--seconds", type=float, default=10.0)
    arguments = parser.parse_args()
    imported, one = float(subprocess.check_output([sys.executable, "-c", IMPORTS])), None
    for number in arguments.actors:
        rate, memory = frames_per_second(number, arguments.seconds)
        one = one or rate
        print(
            f"{number} actors: {rate:,.0f} frames/s, {rate / one:.2f} × one; an actor takes {memory:,.0f} MB, "
            f"imports alone {imported:,.0f}", flush=True,
        )  # fmt: skip
