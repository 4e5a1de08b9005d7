"""Frames kept once: every transition equals, byte for byte, what whole observations folded by hand give."""

import numpy as np
import pytest
import torch
from tensordict import TensorDict

from qframe.errors import RunError
from qframe.replay import FrameReplayBuffer, ReplayBuffer
from tests.runners import prioritized

FRAME = (3, 2)


class Streams:
    """Environments of stacked frames; a step says which one it is under "step". Paddings differ by episode."""

    def __init__(self, num_envs, stack, seed):
        self.rng = np.random.default_rng(seed)
        self.num_envs, self.stack = num_envs, stack
        self.now = [self.start() for _ in range(num_envs)]
        self.step_number = np.zeros(num_envs, np.int64)

    def frame(self):
        return self.rng.integers(0, 256, FRAME, dtype=np.uint8)

    def start(self):
        first, style = self.frame(), self.rng.integers(3)
        before = [first, np.zeros(FRAME, np.uint8), self.frame()][style]  # repeated, black, or anything
        return np.stack([before] * (self.stack - 1) + [first]) if self.stack > 1 else first

    def step(self, envs, end=0.15):
        rows = []
        for env in envs:
            now, newest = self.now[env], self.frame()
            following = np.concatenate([now[1:], newest[None]]) if self.stack > 1 else newest
            ended, by_limit = self.rng.random() < end, self.rng.random() < 0.5
            rows.append((now, following, ended and not by_limit, ended and by_limit, env, self.step_number[env]))
            self.step_number[env] += 1
            self.now[env] = self.start() if ended else following
        now, following, terminated, truncated, env, number = (np.array(column) for column in zip(*rows, strict=True))
        flags = {"terminated": terminated, "truncated": truncated, "done": terminated | truncated}
        return TensorDict(
            {
                "observation": torch.from_numpy(now),
                "action": torch.from_numpy(self.rng.integers(0, 4, len(env))),
                "env": torch.from_numpy(env),
                "stream": torch.from_numpy(env),
                "step": torch.from_numpy(number),
                "next": {
                    "observation": torch.from_numpy(following),
                    "reward": torch.from_numpy(self.rng.normal(size=(len(env), 1)).astype(np.float32)),
                    **{name: torch.from_numpy(flag[:, None]) for name, flag in flags.items()},
                },
            },
            [len(env)],
        )


def transitions_of(rows):
    """By (stream, step), every leaf as bytes."""
    count, leaves = len(rows), {str(key): leaf for key, leaf in rows.items(True, True) if key != "index"}
    whole = [(key, leaf.contiguous().numpy().tobytes(), leaf.dtype) for key, leaf in leaves.items()]
    parts = [(key, content, len(content) // count, dtype) for key, content, dtype in whole] if count else []
    names = zip(rows["stream"].tolist(), rows["step"].tolist(), strict=True)
    return {
        name: {key: (content[i * size : (i + 1) * size], dtype) for key, content, size, dtype in parts}
        for i, name in enumerate(names)
    }


def every_transition(buffer):
    row = buffer._streams.complete.nonzero()[0]
    return transitions_of(TensorDict(buffer._streams.read(row), [len(row)]))


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("stack", [1, 2, 4])
@pytest.mark.parametrize("n_step", [1, 3])
def test_transitions_equal_those_of_whole_observations(seed, stack, n_step):
    rng = np.random.default_rng(seed)
    num_envs = int(rng.integers(1, 4))
    length = int(rng.integers(n_step + 2 * stack + 1, 60))
    streams = Streams(num_envs, stack, seed)
    options = {"gamma": 0.9, "n_step": n_step, "num_envs": num_envs}
    buffer = FrameReplayBuffer(length * num_envs, 1, stack=stack, **options)
    whole = ReplayBuffer(100_000, 1, **options)
    for call in range(150):
        envs = rng.permutation(num_envs)[: rng.integers(1, num_envs + 1)]
        rows = streams.step(envs, end=(0.02, 0.15, 0.5)[seed % 3])
        buffer.extend(rows)
        whole.extend(rows)
        if call % 40 == 39:
            env = int(rng.integers(num_envs))
            buffer.flush(env)
            whole.flush(env)
            streams.now[env] = streams.start()
        if call % 10 == 9 and len(whole):
            expected = transitions_of(TensorDict(whole._storage.read(torch.arange(len(whole))), [len(whole)]))
            found = every_transition(buffer)
            assert len(found) == len(buffer)
            for name, leaves in found.items():
                assert leaves == expected[name], name
            for env in range(num_envs):  # the newest are there, without a gap
                own = sorted(step for stream, step in expected if stream == env)
                kept = sorted(step for stream, step in found if stream == env)
                assert kept == own[len(own) - len(kept) :]


def test_as_many_transitions_are_kept_as_rows_allow():
    """A ring of 100 with one endless episode: 100 rows less the frame to come, n − 1 open steps and 3 broken stacks."""
    streams, buffer = Streams(1, 4, 0), FrameReplayBuffer(100, 1, gamma=0.9, n_step=3, stack=4)
    for _ in range(300):
        buffer.extend(streams.step([0], end=0.0))
    assert len(buffer) == 100 - 1 - 2 - 3


@pytest.mark.parametrize("buffer_class", [FrameReplayBuffer, prioritized(FrameReplayBuffer)])
def test_a_sample_is_what_a_uniform_buffer_gives(buffer_class):
    streams, options = Streams(2, 4, 1), {"gamma": 0.99, "n_step": 3, "num_envs": 2}
    buffer, whole = buffer_class(400, 32, stack=4, **options), ReplayBuffer(1000, 32, **options)
    for _ in range(150):
        rows = streams.step([0, 1])
        buffer.extend(rows)
        whole.extend(rows)
    expected = transitions_of(TensorDict(whole._storage.read(torch.arange(len(whole))), [len(whole)]))
    sample = buffer.sample()
    assert sample.batch_size == (32,)
    weight = sample.pop("priority_weight", torch.ones(32, 1))
    assert weight.shape == (32, 1)
    assert sample["observation"].dtype is torch.uint8
    assert {str(key) for key in whole.sample().keys(True, True)} == {str(key) for key in sample.keys(True, True)}
    for name, leaves in transitions_of(sample).items():
        assert leaves == expected[name]


def test_every_complete_transition_is_drawn_alike():
    streams, buffer = Streams(1, 4, 2), FrameReplayBuffer(40, 8, gamma=0.9, n_step=2, stack=4)
    for _ in range(100):
        buffer.extend(streams.step([0], end=0.3))
    drawn = torch.cat([buffer.sample(1000)["index"] for _ in range(40)])
    counts = torch.bincount(drawn, minlength=40)
    assert (counts > 0).sum() == len(buffer)
    expected = 40_000 / len(buffer)
    assert ((counts[counts > 0] - expected).abs() < 5 * expected**0.5).all()


def test_priorities_follow_the_errors_and_leave_with_their_rows():
    streams, make = Streams(1, 2, 3), prioritized(FrameReplayBuffer, alpha=1.0, epsilon=0.0)
    buffer = make(30, 8, gamma=0.9, stack=2)
    for _ in range(20):
        buffer.extend(streams.step([0], end=0.0))
    every = torch.from_numpy(buffer._streams.complete.nonzero()[0])
    error = torch.zeros(len(every))
    error[3] = 2.0
    buffer.update_priority(every, error)
    assert buffer.sample(64)["index"].unique().tolist() == [every[3].item()]
    for _ in range(60):
        buffer.extend(streams.step([0], end=0.0))
    assert set(buffer.sample(2000)["index"].tolist()) == set(buffer._streams.complete.nonzero()[0].tolist())


@pytest.mark.parametrize("buffer_class", [FrameReplayBuffer, prioritized(FrameReplayBuffer)])
@pytest.mark.parametrize("storage", ["memory", "disk"])
def test_a_loaded_buffer_continues_bit_for_bit(buffer_class, storage):
    streams, options = Streams(2, 4, 4), {"gamma": 0.9, "n_step": 3, "num_envs": 2, "stack": 4, "storage": storage}
    buffer, loaded = buffer_class(100, 8, **options), buffer_class(100, 8, **options)
    for _ in range(70):
        buffer.extend(streams.step([0, 1]))
    buffer.sample()
    loaded.load_state_dict(buffer.state_dict())
    for _ in range(30):
        rows = streams.step([0, 1])
        buffer.extend(rows)
        loaded.extend(rows)
        ours, theirs = buffer.sample(), loaded.sample()
        assert all(torch.equal(ours[key], theirs[key]) for key in ours.keys(True, True))
        error = torch.rand(8)
        buffer.update_priority(ours["index"], error)
        loaded.update_priority(ours["index"], error)


def test_a_file_keeps_the_same_frames_as_memory():
    options = {"gamma": 0.9, "n_step": 3, "num_envs": 2, "stack": 4}
    in_memory, on_disk = (FrameReplayBuffer(100, 8, storage=place, **options) for place in ("memory", "disk"))
    streams = Streams(2, 4, 5)
    for _ in range(80):
        rows = streams.step([0, 1])
        in_memory.extend(rows)
        on_disk.extend(rows)
    assert every_transition(in_memory) == every_transition(on_disk)


def test_an_observation_that_does_not_continue_the_last_one_is_refused():
    streams, buffer = Streams(1, 4, 6), FrameReplayBuffer(100, 1, gamma=0.9, stack=4)
    buffer.extend(streams.step([0], end=0.0))
    other = streams.step([0], end=0.0)
    other["observation"] = other["observation"] + 1
    with pytest.raises(ValueError, match=r"shifted by a new frame \(stack = 4\); use replay=transitions") as refusal:
        buffer.extend(other)
    assert isinstance(refusal.value, RunError)
    with pytest.raises(ValueError, match=r"observations of 3 frames along .*, got shape \[4, 3, 2\]"):
        FrameReplayBuffer(100, 1, gamma=0.9, stack=3).extend(Streams(1, 4, 6).step([0]))


@pytest.mark.parametrize("buffer_class", [FrameReplayBuffer, prioritized(FrameReplayBuffer)])
def test_a_step_that_only_cuts_its_episode_is_left_out_and_the_one_before_is_the_last(buffer_class):
    """So an environment ends whose process died: its observation stays, which is no new frame. The others go on."""
    options = {"gamma": 0.9, "n_step": 3, "num_envs": 2}
    streams, buffer = Streams(2, 4, 7), buffer_class(200, 1, stack=4, **options)
    expected = FrameReplayBuffer(200, 1, stack=4, **options)
    cut_at = {0: [0], 3: [1], 9: [0], 14: [0, 1]}  # the first step of an episode, one within, and both at once
    for number in range(20):
        rows, others = streams.step([0, 1], end=0.0), []
        for env in range(2):
            if env in cut_at.get(number, []):
                rows["next", "observation"][env] = rows["observation"][env]
                rows["next", "truncated"][env] = rows["next", "done"][env] = True
                streams.now[env] = streams.start()
            else:
                others.append(env)
        buffer.extend(rows)
        if others:
            expected.extend(rows[others])
        for env in cut_at.get(number, []):
            expected.flush(env)
    assert every_transition(buffer) == every_transition(expected)
    assert len(buffer) == len(expected) == 2 * 20 - 5 - 4  # less the steps that cut, and n - 1 that are open at the end


def test_a_step_that_stays_and_is_no_cut_is_refused():
    streams, buffer = Streams(1, 4, 8), FrameReplayBuffer(100, 1, gamma=0.9, stack=4)
    for _ in range(4):
        buffer.extend(streams.step([0], end=0.0))
    rows = streams.step([0], end=0.0)
    rows["next", "observation"] = rows["observation"].clone()
    with pytest.raises(ValueError, match="not the one before it shifted by a new frame"):
        buffer.extend(rows)


def test_sizes_out_of_range_are_refused():
    with pytest.raises(ValueError, match=r"capacity of at least num_envs · \(n_step \+ 2 · stack \+ 1\) = 24, got 21"):
        FrameReplayBuffer(21, 1, gamma=0.9, n_step=3, num_envs=2, stack=4)
    with pytest.raises(ValueError, match="expected storage to be memory or disk, got 'ram'"):
        FrameReplayBuffer(100, 1, gamma=0.9, storage="ram")  # pyright: ignore
    with pytest.raises(ValueError, match="n_step and stack of at least 1"):
        FrameReplayBuffer(100, 1, gamma=0.9, stack=0)
    with pytest.raises(RuntimeError, match="holds no complete transition yet; call extend before"):
        FrameReplayBuffer(100, 1, gamma=0.9).sample()
