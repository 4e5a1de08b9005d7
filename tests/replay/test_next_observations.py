"""Large observations are stored once, and samples are, byte for byte, those of steps stored whole."""

import numpy as np
import pytest
import torch
from tensordict import TensorDict

from qframe.replay import RolloutBuffer, SliceReplayBuffer
from qframe.replay import next_observations as module

SIDE = 40  # 1,600 bytes, more than an entry that is packed with its row


def frames(lengths, env, start, *, ends="terminated"):
    """Episodes of one environment, each of steps between pictures of its own."""
    rows = []
    for length in lengths:
        for t in range(length):
            last = t == length - 1
            rows.append(
                TensorDict(
                    {
                        "observation": torch.full((SIDE, SIDE), (start + t) % 251, dtype=torch.uint8),
                        "action": torch.tensor(start + t),
                        "env": torch.tensor(env),
                        "next": {
                            "observation": torch.full((SIDE, SIDE), (start + t + 1) % 251, dtype=torch.uint8),
                            "reward": torch.ones(1),
                            "terminated": torch.tensor([last and ends == "terminated"]),
                            "truncated": torch.tensor([last and ends == "truncated"]),
                            "done": torch.tensor([last and ends is not None]),
                        },
                    }
                )
            )
        start += length + 1  # the picture after the last step is followed by another episode's first
    return torch.stack(rows)


def interleaved(first, second):
    return torch.stack([row for pair in zip(first, second, strict=False) for row in pair])


def buffer(**options):
    return SliceReplayBuffer(24, 12, **{"slice_length": 3, "gamma": 0.9, "num_envs": 2} | options)


def assert_whole(sample):
    following = (sample["action"] + 1) % 251
    expected = following[..., None, None].to(torch.uint8).expand(*following.shape, SIDE, SIDE)
    assert torch.equal(sample["next", "observation"], expected)
    assert torch.equal(sample["observation"], (sample["action"] % 251)[..., None, None].expand_as(expected))


@pytest.mark.parametrize("ends", ["terminated", "truncated"])
@pytest.mark.parametrize("cut", [1, 7])
def test_every_step_has_its_own_next_observation(ends, cut):
    replay = buffer()
    steps = interleaved(frames([4, 1, 5, 2, 9], 0, 0, ends=ends), frames([2, 2, 7, 6, 4], 1, 100, ends=ends))
    for start in range(0, len(steps), cut):
        replay.extend(steps[start : start + cut])
        if len(replay) >= 12:
            assert_whole(replay.sample(60))


def test_an_observation_is_stored_once():
    replay = buffer()
    replay.extend(frames([9], 0, 0))
    assert replay.observation_bytes(SIDE * SIDE) == SIDE * SIDE
    assert ("next", "observation") not in replay._storage.leaves
    assert replay.observation_bytes(16) == 2 * 16


def test_an_abandoned_episode_and_a_step_that_does_not_follow_keep_theirs():
    replay = buffer(num_envs=1)
    replay.extend(frames([4], 0, 0, ends=None))
    replay.flush()
    replay.extend(frames([5], 0, 50, ends=None))
    replay.extend(frames([5], 0, 90, ends=None))
    assert_whole(replay.sample(120))


def test_a_step_that_does_not_follow_keeps_its_own_beside_the_first_step_of_another_environment():
    replay = buffer()
    replay.extend(frames([4], 0, 0, ends=None))
    replay.extend(interleaved(frames([1], 0, 50, ends=None), frames([1], 1, 100, ends=None)))
    replay.extend(frames([4], 0, 51, ends=None))
    assert_whole(replay.sample(60))


def test_a_loaded_replay_continues_bit_for_bit(assert_equal, saved_and_loaded):
    steps = interleaved(frames([4, 1, 5, 20], 0, 0), frames([2, 2, 7, 20], 1, 100))
    one, other = buffer(seed=1), buffer(seed=2)
    one.extend(steps[:40])
    other.load_state_dict(saved_and_loaded(one.state_dict()))
    for replay in (one, other):
        replay.extend(steps[40:50])
    assert_equal(one.sample(60), other.sample(60))
    assert_whole(other.sample(60))


def test_an_empty_replay_has_a_state(saved_and_loaded):
    replay = buffer()
    replay.load_state_dict(saved_and_loaded(buffer().state_dict()))
    assert len(replay) == 0


def test_n_steps_and_rollouts_read_the_observation_of_the_last_step():
    replay = buffer(num_envs=1, n_step=2)
    replay.extend(frames([9], 0, 0))
    sample = replay.sample(60)
    expected = (sample["action"] + sample["steps_to_next_obs"].squeeze(-1)) % 251
    assert torch.equal(sample["next", "observation"][..., 0, 0], expected.to(torch.uint8))
    rollout = RolloutBuffer(6, minibatches=1, epochs=1, gamma=0.9, num_envs=2, reuse_values=True)
    rollout.extend(interleaved(frames([4, 2], 0, 0), frames([6], 1, 100)))
    assert_whole(rollout.unpredicted)
    assert_whole(rollout.sample())


def test_small_entries_are_stored_whole(monkeypatch):
    monkeypatch.setattr(module, "PACKED_BYTES", SIDE * SIDE)
    replay = buffer()
    replay.extend(frames([9], 0, 0))
    assert ("next", "observation") in replay._storage.leaves
    assert_whole(replay.sample(60))
    assert np.isfinite(len(replay))
