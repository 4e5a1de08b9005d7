"""Random episodes of several environments as rows in time order, and cuts of them into calls."""

import io

import numpy as np
import pytest
import torch
from tensordict import TensorDict


def _random_steps(count, num_envs, seed=0):
    """``count`` rows; at each vector step a random subset of the environments steps, and episodes end at random."""
    rng = np.random.default_rng(seed)
    env = []
    while len(env) < count:
        env += [e for e in range(num_envs) if rng.random() < 0.8]
    terminated, truncated = rng.random((2, count, 1)) < 0.1
    flags = {"terminated": terminated, "truncated": truncated, "done": terminated | truncated}
    return TensorDict(
        {
            "observation": torch.from_numpy(rng.normal(size=(count, 2)).astype(np.float32)),
            "frame": torch.from_numpy(rng.integers(256, size=(count, 3, 2), dtype=np.uint8)),
            "action": torch.from_numpy(rng.integers(5, size=count)),
            "action_mask": torch.from_numpy(rng.random((count, 5)) < 0.5),
            "env": torch.tensor(env[:count]),
            "next": {
                "observation": torch.from_numpy(rng.normal(size=(count, 2)).astype(np.float32)),
                "frame": torch.from_numpy(rng.integers(256, size=(count, 3, 2), dtype=np.uint8)),
                "action_mask": torch.from_numpy(rng.random((count, 5)) < 0.5),
                "reward": torch.from_numpy(rng.normal(size=(count, 1)).astype(np.float32)),
                **{name: torch.from_numpy(flag) for name, flag in flags.items()},
            },
        },
        batch_size=[count],
    )


def _cuts(steps, largest, seed=0):
    """The rows in pieces of 0 to ``largest``."""
    rng = np.random.default_rng(seed)
    pieces, start = [], 0
    while start < len(steps):
        stop = start + int(rng.integers(largest + 1))
        pieces.append(steps[start:stop])
        start = stop
    return pieces


def _episode(rewards, *, end="terminated", env=0):
    """Steps of one environment: step t goes from observation t to t + 1; the last ends the episode as asked."""
    count = len(rewards)
    flags = {name: torch.zeros(count, 1, dtype=torch.bool) for name in ("terminated", "truncated", "done")}
    if end is not None:
        flags[end][-1] = flags["done"][-1] = True
    time = torch.arange(count, dtype=torch.float32)[:, None]
    return TensorDict(
        {
            "observation": time,
            "action": torch.arange(count),
            "env": torch.full((count,), env),
            "next": {"observation": time + 1, "reward": torch.tensor(rewards)[:, None], **flags},
        },
        batch_size=[count],
    )


def _saved_and_loaded(state):
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


def _rows(buffer):
    """All rows of a buffer, by number."""
    rows = buffer.state_dict()["rows"]
    return TensorDict(rows, batch_size=[len(buffer)])


def _assert_equal(got, expected):
    got, expected = dict(got.items(True, True)), dict(expected.items(True, True))
    assert got.keys() == expected.keys()
    for key, leaf in expected.items():
        assert got[key].dtype == leaf.dtype, key
        assert torch.equal(got[key], leaf), key


@pytest.fixture
def random_steps():
    return _random_steps


@pytest.fixture
def cuts():
    return _cuts


@pytest.fixture
def episode():
    return _episode


@pytest.fixture
def saved_and_loaded():
    return _saved_and_loaded


@pytest.fixture
def rows_of():
    return _rows


@pytest.fixture
def assert_equal():
    return _assert_equal
