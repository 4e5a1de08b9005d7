"""Observations between processes: unpacked bit for bit, each sent once."""

import numpy as np
import pytest

from qframe.training.observation_codec import Receiver, Sender

RNG = np.random.default_rng(0)


def stream(steps, num_envs, shape, dtype, *, stack, ends=0.1):
    """Rows of several steps, as a collector gives them; an episode's first stack is padded with zeros."""
    def frame():
        return RNG.integers(0, 255, (num_envs, *shape)).astype(dtype)

    def first():
        return following(np.zeros((num_envs, stack, *shape), dtype))

    def following(own):
        return np.concatenate([own[:, 1:], frame()[:, None]], 1) if stack else frame()

    own, rows = first(), []
    for _ in range(steps):
        after = following(own)
        rows.append({"observation": own, ("next", "observation"): after, "env": np.arange(num_envs)})
        is_new = RNG.random(num_envs) < ends
        own = np.where(is_new.reshape(-1, *[1] * (after.ndim - 1)), first(), after)
    return [
        {key: np.concatenate([row[key] for row in rows[begin : begin + 8]]) for key in rows[0]}
        for begin in range(0, steps, 8)
    ]


def assert_same(sent, received):
    assert sent.keys() == received.keys()
    for key, leaf in sent.items():
        assert leaf.dtype == received[key].dtype
        assert leaf.shape == received[key].shape
        assert leaf.tobytes() == received[key].tobytes()


def size(message):
    if isinstance(message, np.ndarray):
        return message.nbytes
    return sum(map(size, message.values())) if isinstance(message, dict) else 0


@pytest.mark.parametrize("stack", [0, 1, 4])
@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.bool_, np.int64])
@pytest.mark.parametrize("shape", [(), (3,), (5, 4)])
def test_rows_come_out_as_they_went_in(stack, dtype, shape):
    sender, receiver = Sender(), Receiver()
    for rows in stream(32, 3, shape, dtype, stack=stack):
        assert_same(rows, receiver.unpack(sender.pack(rows, 3)))


def test_of_stacked_frames_only_the_newest_is_sent():
    sender, sent = Sender(), 0
    for rows in stream(800, 4, (84, 84), np.uint8, stack=4, ends=0.001):
        sent += size(sender.pack(rows, 4))
    assert sent / (800 * 4) < 7_300  # 7,056 of the frame


def test_numbers_that_are_equal_but_not_in_their_bits_are_kept_apart():
    sender, receiver = Sender(), Receiver()
    zeros = np.array([[0.0], [np.nan]])
    for own, after in ((zeros, zeros), (-zeros, zeros), (zeros, -zeros)):
        rows = {"observation": own, ("next", "observation"): after, "env": np.arange(2)}
        assert_same(rows, receiver.unpack(sender.pack(rows, 2)))


def test_steps_of_some_environments_are_sent_whole():
    sender, receiver = Sender(), Receiver()
    for rows in stream(24, 3, (2,), np.float32, stack=0):
        kept = {key: leaf[[0, 1, 2, 3, 5]] for key, leaf in rows.items()}
        assert_same(kept, receiver.unpack(sender.pack(kept, 3)))
        assert_same(rows, receiver.unpack(sender.pack(rows, 3)))


def test_a_new_sender_continues_for_the_same_receiver():
    receiver = Receiver()
    for rows in stream(24, 3, (5, 5), np.uint8, stack=4):
        assert_same(rows, receiver.unpack(Sender().pack(rows, 3)))


def test_each_entry_of_a_nested_observation_is_packed():
    sender, receiver = Sender(), Receiver()
    for one, two in zip(
        stream(16, 2, (6, 6), np.uint8, stack=4), stream(16, 2, (), np.int64, stack=0), strict=True
    ):
        rows = {("observation", "image"): one["observation"], ("observation", "level"): two["observation"]}
        rows |= {("next", "observation", "image"): one["next", "observation"], "env": one["env"]}
        rows["next", "observation", "level"] = two["next", "observation"]
        assert_same(rows, receiver.unpack(sender.pack(rows, 2)))
