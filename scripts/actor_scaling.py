"""Frames per second of 1, 2, 4 and 8 actors whose environment sleeps 5 ms a step, and what each costs.

An environment that waits shows how actors scale on a machine with fewer cores than actors. Between messages the learner
takes an update for every eight frames; its updates per second of its own time should not fall with more actors.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

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


class Measured(NamedTuple):
    """What some actors reach together."""

    frames: float
    """Per second."""
    updates: float
    """Per second that the learner spends on them."""
    memory: float
    """Resident, of the largest actor, in MB."""


def measure(number: int, seconds: float) -> Measured:
    """A number of actors with one environment each, for this long."""
    gym.register("Sleeping-v0", lambda **_: Sleeping())
    runner = make_runner(Path(tempfile.mkdtemp()), "Sleeping-v0", num_envs=number)
    made: Any = runner.collector
    collector = RayCollector(
        GymnasiumEnvs("Sleeping-v0", num_envs=number, vectorization="sync"), runner.network,
        actors=number, steps=32, lag=1, order="fixed", address=None, cpus=0.125, resources={}, timeout=300.0,
        exploration=made.exploration, action_space=made._action_space, make_reward=reward_of, seed=0,
    )  # fmt: skip
    for _ in range(64):
        runner.replay.extend(collector.collect())
    started, frames, updates, learning = time.perf_counter(), 0, 0, 0.0
    while time.perf_counter() - started < seconds or frames % (32 * number):
        transitions = collector.collect()
        runner.replay.extend(transitions)
        frames += len(transitions)
        began = time.perf_counter()
        while updates < frames // 8:
            updates += runner.learner.learn(1)
        learning += time.perf_counter() - began
    rate = frames / (time.perf_counter() - started)
    memory = max(map(resident, actors(os.getpid())))
    collector.close()
    return Measured(rate, updates / learning, memory)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--actors", type=int, nargs="+", default=[1, 2, 4, 8])
    parser.add_argument("--seconds", type=float, default=10.0)
    arguments = parser.parse_args()
    imported, one = float(subprocess.check_output([sys.executable, "-c", IMPORTS])), None
    for number in arguments.actors:
        found = measure(number, arguments.seconds)
        one = one or found
        print(
            f"{number} actors: {found.frames:,.0f} frames/s, {found.frames / one.frames:.2f} × one; the learner takes "
            f"{found.updates:,.0f} updates/s, {found.updates / one.updates:.2f} × one; an actor takes "
            f"{found.memory:,.0f} MB, imports alone {imported:,.0f}", flush=True,
        )  # fmt: skip
