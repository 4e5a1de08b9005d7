"""How the cost of a frame grows with the replay's capacity, with the number of environments and with that of actions.

    python scripts/cost_growth.py                # all three, some ten minutes on a quiet machine
    python scripts/cost_growth.py envs --seconds 2

Frames per second of processor time while learning, an update of 128 transitions per 10 frames, network 120-84, no
compiler; the time is that of the fastest quarter of rounds, as other processes only slow them down. A replay is full
before the clock starts. ``step`` compares a row with the one before it, per decade: 1.5 means that ten times as many
cost half as much again. ``work`` is the same for the multiply-adds of a frame, acting and
learning: a step that the work does not explain is marked, and the exit status is then 1.
"""

import argparse
import contextlib
import io
import itertools
import math
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from qframe.cli.main import main as qframe
from qframe.training.runner import Runner

LARGEST_STEP = 1.5
PER_UPDATE, BATCH, PASSES = 10, 128, 4  # forward passes that an update's work amounts to: one back is two forward
COMMON = (
    "compile=false", "trunk=mlp", "trunk.num_cells=[120,84]", "replay.batch_size=128", "replay.n_step=1",
    "evaluation.every=1_000_000_000", "evaluation.final_episodes=1", "evaluation.num_envs=1",
    "evaluation.max_episode_steps=10", "checkpoint.every=1_000_000_000", "logger.every=1_000_000_000",
    "total_frames=1_000_000_000", "head=scalar",
)  # fmt: skip


class Point(NamedTuple):
    """A setting that is measured."""

    number: int
    words: tuple[str, ...]
    num_envs: int
    actions: int = 2


class Choices(gym.Env[np.ndarray, int]):
    """An environment that costs next to nothing, with any number of actions and episodes of 100 steps."""

    observation_space = gym.spaces.Box(-1.0, 1.0, (4,), np.float32)

    def __init__(self, num_actions: int) -> None:
        self.action_space = gym.spaces.Discrete(num_actions)  # pyright: ignore[reportAttributeAccessIssue]
        self._step = 0

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed)
        self._step = 0
        return self._look(), {}

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        self._step += 1
        return self._look(), float(action % 2), False, self._step == 100, {}

    def _look(self) -> np.ndarray:
        return self.np_random.uniform(-1, 1, 4).astype(np.float32)


def points(axis: str) -> list[Point]:
    """The settings of an axis."""
    native = ("env=cartpole", "env.vectorization=native")
    if axis in ("buffer", "prioritized"):
        more = ("priorities=proportional",) if axis == "prioritized" else ()
        return [Point(size, (*native, *more, f"replay.capacity={size}"), 1000) for size in (10**4, 10**5, 10**6, 10**7)]
    if axis == "envs":
        return [Point(count, (*native, "replay.capacity=20_000"), count) for count in (1, 4, 16, 64, 256, 1024)]
    own = ("env=gymnasium", "env.id=qframe/Choices-v0", "env.vectorization=sync", "replay.capacity=20_000")
    return [Point(count, (*own, f"env.kwargs.num_actions={count}"), 8, count) for count in (2, 10, 100, 1000)]


AXES = ("buffer", "prioritized", "envs", "actions")


def speed(point: Point, seconds: float) -> float:
    """Frames per second of processor time."""
    found: list[float] = []
    train = Runner.train
    round_frames = point.num_envs * math.ceil(PER_UPDATE / point.num_envs)

    def timed(runner: Runner, frames: int) -> None:
        train(runner, 20 * round_frames)  # fills caches, and Adam's moments
        rows = runner.collector.collect()
        for _ in range(math.ceil(runner.replay.capacity / len(rows))):
            runner.replay.extend(rows)
        train(runner, runner.frames + 3 * round_frames)
        rounds: list[float] = []
        while len(rounds) < 4 or sum(rounds) < seconds:
            started = time.process_time()
            train(runner, runner.frames + round_frames)
            rounds.append(time.process_time() - started)
        found.append(round_frames / sorted(rounds)[len(rounds) // 4])
        raise StopMeasuring

    Runner.train = timed  # pyright: ignore[reportAttributeAccessIssue]
    words = [*COMMON, *point.words, f"env.num_envs={point.num_envs}", f"runner.every={round_frames}"]
    words += [f"runner.updates={round(round_frames / PER_UPDATE)}", "runner.learning_starts=128"]
    screen = io.StringIO()
    try:
        silent = contextlib.redirect_stdout(screen), contextlib.redirect_stderr(screen)
        with tempfile.TemporaryDirectory() as folder, silent[0], silent[1]:
            qframe(["train", *words, f"hydra.run.dir={folder}/run"])
    finally:
        Runner.train = train
    if not found:
        raise SystemExit(screen.getvalue())
    return found[0]


class StopMeasuring(Exception):
    """Ends a run whose speed is known."""


def work(point: Point) -> float:
    """Multiply-adds of a frame: one pass of acting, and an update's share."""
    layers = (4, 120, 84, point.actions)
    weights = sum(before * after for before, after in itertools.pairwise(layers))
    return weights * (1 + PASSES * BATCH / PER_UPDATE)


def per_decade(ratio: float, before: int, after: int) -> float:
    """A ratio between two numbers, as one between a number and ten times that."""
    return ratio ** (1 / math.log10(after / before))


def main() -> int:
    """Print a table for every axis; 1 if a step is not explained."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("axes", nargs="*", default=AXES, metavar="AXIS", help=f"among {', '.join(AXES)}")
    parser.add_argument("--seconds", type=float, default=5.0, help="of processor time for each row")
    options = parser.parse_args()
    torch.set_num_threads(1)
    gym.register("qframe/Choices-v0", Choices)  # pyright: ignore[reportArgumentType]
    cliffs = 0
    print("| axis | number | frames/s of processor time | step per decade | work per decade | |")
    print("|---|---|---|---|---|---|")
    for axis in options.axes:
        earlier: tuple[Point, float] | None = None
        for point in points(axis):
            found, words = speed(point, options.seconds), ""
            if earlier is not None:
                before, other = earlier
                step, arithmetic = (
                    per_decade(ratio, before.number, point.number)
                    for ratio in (other / found, work(point) / work(before))
                )
                is_cliff = step > LARGEST_STEP * max(1.0, arithmetic)
                cliffs += is_cliff
                words = f"{step:.2f} | {arithmetic:.2f} | {'NOT EXPLAINED' if is_cliff else ''}"
            print(f"| {axis} | {point.number:,} | {found:,.0f} | {words or ' | | '} |", flush=True)
            earlier = point, found
    return int(cliffs > 0)


if __name__ == "__main__":
    sys.exit(main())
