"""A payoff that depends on two choices at once, which branches cannot represent and ``action_space=auto`` learns."""

import json
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces

from qframe.cli.main import main


class MatchingPennies(gym.Env):
    """One step: 1 if both coins show the same side, as in the game of that name."""

    observation_space, action_space = spaces.Box(0, 1, (1,)), spaces.MultiDiscrete([2, 2])

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return np.ones(1, np.float32), {}

    def step(self, action):
        return np.ones(1, np.float32), float(action[0] == action[1]), True, False, {}


gym.register("qframe-test/MatchingPennies-v0", MatchingPennies)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_matching_pennies_are_learnt(tmp_path, monkeypatch, seed):
    monkeypatch.chdir(tmp_path)
    words = ["env=gymnasium", "env.id=qframe-test/MatchingPennies-v0", f"seed={seed}", "total_frames=800",
             "runner.learning_starts=100", "replay.capacity=1000", "replay.batch_size=32", "replay.n_step=1",
             "trunk.num_cells=[16]", "optimizer.lr=1e-2", "exploration.annealing_num_steps=400", "compile=false",
             "evaluation.every=1e6", "evaluation.final_episodes=10", "logger.tensorboard=false",
             "hydra.run.dir=run"]  # fmt: skip
    assert main(["train", *words]) == 0
    assert json.loads(Path("run/summary.json").read_text())["eval_return_last"] == 1.0
