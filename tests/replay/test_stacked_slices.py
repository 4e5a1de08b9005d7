"""Slices of stacked frames store each frame once, and read, byte for byte, what slices of whole observations read."""

import numpy as np
import pytest
import torch
from tensordict import TensorDict

from qframe.replay import ProportionalPriorities, SliceReplayBuffer
from qframe.replay.stacked_storage import NotStacked

SIDE = 20  # a stack of three has 1,200 bytes, so that next observations are read from the next row


def stacks(count, num_envs, *, stack=3, padding="zero", seed=0):
    """``count`` vector steps of random frames; episodes end at random, some abandoned, their stacks padded or not."""
    rng = np.random.default_rng(seed)
    frame = lambda: rng.integers(1, 256, size=(SIDE, SIDE), dtype=np.uint8)  # noqa: E731
    first = {
        "zero": lambda: [np.zeros((SIDE, SIDE), np.uint8)] * (stack - 1) + [frame()],
        "repeat": lambda: [frame()] * stack,
        "random": lambda: [frame() for _ in range(stack)],
    }[padding]
    held, rows = [first() for _ in range(num_envs)], []
    for _ in range(count):
        for env in range(num_envs):
            following = [*held[env][1:], frame()]
            terminated, truncated = rng.random() < 0.1, rng.random() < 0.1
            rows.append(
                TensorDict(
                    {
                        "observation": torch.from_numpy(np.stack(held[env])),
                        "action": torch.tensor(len(rows)),
                        "env": torch.tensor(env),
                        "next": {
                            "observation": torch.from_numpy(np.stack(following)),
                            "reward": torch.tensor([rng.normal()], dtype=torch.float32),
                            "terminated": torch.tensor([terminated]),
                            "truncated": torch.tensor([truncated]),
                            "done": torch.tensor([terminated or truncated]),
                        },
                    }
                )
            )
            held[env] = first() if terminated or truncated else following
    return torch.stack(rows)


def buffers(**options):
    options = {"slice_length": 4, "gamma": 0.9, "num_envs": 2, "n_step": 2} | options
    return [SliceReplayBuffer(24, 12, stack=stack, **options) for stack in (3, 1)]


@pytest.mark.parametrize("padding", ["zero", "repeat", "random"])
@pytest.mark.parametrize("prioritized", [False, True])
def test_samples_are_those_of_whole_observations(padding, prioritized, assert_equal):
    shared, whole = (
        SliceReplayBuffer(
            24, 12, slice_length=4, gamma=0.9, num_envs=2, n_step=2, stack=stack,
            priorities=ProportionalPriorities() if prioritized else None,
        )
        for stack in (3, 1)
    )  # fmt: skip
    steps = stacks(60, 2, padding=padding)
    for start in range(0, len(steps), 5):
        for replay in (shared, whole):
            replay.extend(steps[start : start + 5])
        if len(shared) >= 10:
            assert_equal(shared.sample(24), whole.sample(24))


def test_a_frame_is_stored_once():
    shared, whole = buffers()
    for replay in (shared, whole):
        replay.extend(stacks(9, 2))
    assert shared._storage.leaves["observation"].shape == (24, SIDE, SIDE)
    assert shared.observation_bytes(3 * SIDE * SIDE) == SIDE * SIDE
    assert whole.observation_bytes(3 * SIDE * SIDE) == 3 * SIDE * SIDE


def test_earlier_frames_are_kept_apart_only_at_starts_and_at_the_oldest_row():
    shared, _ = buffers()
    steps = stacks(60, 2, seed=3)
    shared.extend(steps)
    starts = int(steps["next", "done"].reshape(-1, 2)[-13:-1].sum())
    assert len(shared._storage._apart) <= starts + 2


def test_an_abandoned_episode_ends_there(assert_equal):
    shared, whole = buffers(num_envs=1)
    for seed in range(3):
        steps = stacks(7, 1, seed=seed, padding="random")
        for replay in (shared, whole):
            replay.extend(steps)
            replay.flush()
    assert_equal(shared.sample(24), whole.sample(24))


@pytest.mark.parametrize("count", [6, 40])
def test_a_loaded_replay_continues_bit_for_bit(count, saved_and_loaded, assert_equal):
    saved, loaded = buffers()[0], buffers()[0]
    saved.extend(stacks(count, 2, seed=1))
    loaded.extend(stacks(20, 2, seed=2))
    loaded.load_state_dict(saved_and_loaded(saved.state_dict()))
    for replay in (saved, loaded):
        replay.flush()
        replay.extend(stacks(5, 2, seed=4))
    assert_equal(loaded.sample(24), saved.sample(24))


def test_a_state_of_another_stack_is_refused():
    shared, whole = buffers()
    shared.extend(stacks(5, 2))
    with pytest.raises(ValueError, match="stack = None here, 3 saved"):
        whole.load_state_dict(shared.state_dict())


def test_observations_that_do_not_shift_are_refused():
    shared, _ = buffers(num_envs=1)
    steps = stacks(8, 1, seed=5)
    steps["next", "done"][:] = False
    steps["observation"][4:] = steps["observation"][4:].flip(1)
    with pytest.raises(NotStacked, match=r"set replay\.stack=1"):
        shared.extend(steps)


def test_observations_of_another_number_of_frames_are_refused():
    shared, _ = buffers()
    with pytest.raises(NotStacked, match=r"set replay\.stack"):
        shared.extend(stacks(2, 2, stack=4))
