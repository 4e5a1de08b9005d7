"""Several batches drawn at once are those that as many calls would draw, for every replay."""

from functools import partial

import pytest
import torch

from qframe.replay import FrameReplayBuffer, ReplayBuffer, SliceReplayBuffer
from tests.replay.test_frames import Streams
from tests.runners import prioritized

REPLAYS = {
    "transitions": partial(ReplayBuffer, n_step=3),
    "prioritized_transitions": partial(prioritized(ReplayBuffer), n_step=3),
    "slices": partial(SliceReplayBuffer, slice_length=4),
    "slices_of_one_episode": partial(SliceReplayBuffer, slice_length=4, across_episodes=False),
    "prioritized_slices": partial(prioritized(SliceReplayBuffer), slice_length=4),
    "frames": partial(FrameReplayBuffer, n_step=3, stack=2),
    "prioritized_frames": partial(prioritized(FrameReplayBuffer), n_step=3, stack=2),
}


def filled(name):
    buffer, streams = REPLAYS[name](200, 8, gamma=0.9, num_envs=2, seed=3), Streams(2, 2, seed=0)
    for _ in range(120):
        buffer.extend(streams.step([0, 1]))
    return buffer


@pytest.mark.parametrize("name", REPLAYS)
def test_batches_drawn_at_once_are_those_drawn_one_after_another(name):
    one, other = filled(name), filled(name)
    for _ in range(3):
        single = torch.cat([one.sample().clone() for _ in range(5)])
        at_once = other.sample(batches=5)
        assert at_once.batch_size == single.batch_size
        assert at_once.names == single.names
        for key, leaf in single.items(True, True):
            assert torch.equal(at_once[key], leaf), key
    assert torch.equal(one.generator.get_state(), other.generator.get_state())


@pytest.mark.parametrize("name", REPLAYS)
def test_so_are_those_that_are_yet_to_be_read(name):
    one, other = filled(name), filled(name)
    single = torch.cat([one.draw()[0] for _ in range(5)])
    assert torch.equal(other.draw(batches=5)[0], single)
