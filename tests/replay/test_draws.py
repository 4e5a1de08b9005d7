"""The rows and importance weights that one seed draws, for every layout with and without priorities."""

import numpy as np
import pytest
import torch
from tensordict import TensorDict

from qframe.replay import FrameReplayBuffer, ReplayBuffer, SliceReplayBuffer
from tests.runners import prioritized

SLICES = {"slice_length": 2}
WITHIN = {"slice_length": 2, "across_episodes": False}
FRAMES = {"n_step": 3, "stack": 2}
LAYOUTS = {
    "transitions": (ReplayBuffer, 40, {"n_step": 3}),
    "slices": (SliceReplayBuffer, 40, SLICES),
    "slices within episodes": (SliceReplayBuffer, 40, WITHIN),
    "frames": (FrameReplayBuffer, 60, FRAMES),
    "transitions by priority": (prioritized(ReplayBuffer), 40, {"n_step": 3}),
    "slices by priority": (prioritized(SliceReplayBuffer), 40, SLICES),
    "slices within episodes by priority": (prioritized(SliceReplayBuffer), 40, WITHIN),
    "frames by priority": (prioritized(FrameReplayBuffer), 60, FRAMES),
}


def step(time, env):
    """Episodes of 9 and 7 steps; an observation is a stack of two frames."""
    length = 9 - 2 * env
    frame = 100.0 * env + time + time // length
    flag = torch.tensor([[time % length == length - 1]])
    return TensorDict(
        {
            "observation": torch.tensor([[[frame - 1], [frame]]]),
            "action": torch.tensor([time % 3]),
            "env": torch.tensor([env]),
            "next": {
                "observation": torch.tensor([[[frame], [frame + 1]]]),
                "reward": torch.tensor([[float(time)]]),
                "terminated": flag, "truncated": ~flag & flag, "done": flag,
            },
        },
        [1],
    )  # fmt: skip


def draws(buffer):
    """Rows and weights of the tenth sample after 13, 26 and 39 steps of each environment; each updates priorities."""
    rows, weights = [], []
    for turn in range(3):
        for time in range(13 * turn, 13 * turn + 13):
            buffer.extend(torch.cat([step(time, env) for env in range(2)]))
        buffer.anneal(turn / 3)
        for _ in range(10):
            batch = buffer.sample()
            buffer.update_priority(batch["index"], 1 / (1 + batch["next", "reward"] % 5))
        rows.append(batch["index"].reshape(-1).tolist())
        if "priority_weight" in batch:
            weights += batch["priority_weight"].reshape(-1)[:: batch["index"].numel() // len(batch)].tolist()
    return rows, weights


EXPECTED = {
    "transitions": (
        [[15, 15, 11, 12, 13, 10, 7, 0], [4, 27, 31, 17, 26, 31, 29, 36], [19, 37, 32, 29, 7, 31, 25, 29]],
        [],
    ),
    "slices": (
        [[0, 1, 31, 32, 5, 6, 8, 9], [19, 0, 6, 7, 38, 39, 35, 36], [17, 18, 8, 9, 19, 0, 9, 10]],
        [],
    ),
    "slices within episodes": (
        [[0, 1, 31, 32, 5, 6, 8, 9], [19, 0, 6, 7, 38, 39, 35, 36], [17, 18, 8, 9, 19, 0, 9, 10]],
        [],
    ),
    "frames": (
        [[12, 31, 36, 2, 5, 7, 1, 35], [44, 59, 43, 5, 25, 20, 17, 51], [6, 26, 33, 33, 43, 42, 46, 15]],
        [],
    ),
    "transitions by priority": (
        [[0, 2, 5, 10, 10, 13, 16, 19], [5, 10, 14, 19, 22, 29, 34, 39], [3, 8, 13, 18, 25, 28, 35, 38]],
        [
            0.92920, 0.72196, 0.95468, 0.74475, 0.74475, 1.00000, 0.85512, 0.88771,
            0.83394, 0.62351, 1.00000, 0.81141, 0.85176, 0.63300, 0.69332, 0.55238,
            1.00000, 0.81657, 0.50349, 0.63526, 0.98305, 0.74612, 0.92250, 0.75217,
        ],
    ),
    "slices by priority": (
        [[0, 1, 6, 7, 24, 25, 28, 29], [3, 4, 17, 18, 26, 27, 34, 35], [4, 5, 20, 21, 29, 30, 32, 33]],
        [
            0.84848, 1.00000, 0.85164, 0.84334,
            1.00000, 0.60491, 0.78106, 0.61386,
            0.58662, 0.59380, 0.59823, 1.00000,
        ],
    ),
    "slices within episodes by priority": (
        [[0, 1, 6, 7, 24, 25, 28, 29], [3, 4, 17, 18, 26, 27, 34, 35], [4, 5, 20, 21, 29, 30, 32, 33]],
        [
            0.84848, 1.00000, 0.85164, 0.84334,
            1.00000, 0.60491, 0.77635, 0.61386,
            0.58662, 0.58662, 0.59823, 1.00000,
        ],
    ),
    "frames by priority": (
        [[1, 4, 6, 31, 32, 35, 37, 41], [7, 14, 18, 25, 28, 43, 51, 58], [4, 8, 12, 25, 33, 34, 52, 55]],
        [
            0.91060, 0.75920, 0.80166, 0.91060, 0.70752, 0.95860, 0.79507, 1.00000,
            0.92986, 0.81640, 0.88526, 0.75905, 1.00000, 0.98566, 0.66454, 0.97354,
            0.61904, 0.75133, 0.48121, 0.77790, 0.54579, 0.81536, 1.00000, 0.48121,
        ],
    ),
}  # fmt: skip


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_seed_draws_these_rows_with_these_weights(layout):
    make, capacity, options = LAYOUTS[layout]
    rows, weights = draws(make(capacity, 8, gamma=0.9, num_envs=2, seed=7, **options))
    expected_rows, expected_weights = EXPECTED[layout]
    assert rows == expected_rows
    np.testing.assert_allclose(weights, expected_weights, atol=6e-6)
