"""The uniform buffer against a twin made of a list of dictionaries."""

import numpy as np
import pytest
import torch
from tensordict import TensorDict

from qframe.replay import ReplayBuffer
from tests.runners import prioritized

GAMMA = 0.97


class Twin:
    """The same buffer, one row at a time."""

    def __init__(self, capacity, n_step, num_envs):
        self.capacity, self.n_step = capacity, n_step
        self.windows = [[] for _ in range(num_envs)]
        self.rows, self.stored = [None] * capacity, 0

    def extend(self, steps):
        for i in range(len(steps)):
            step = steps[i]
            window = self.windows[int(step["env"])]
            window.append(step)
            if step["next", "done"]:
                while window:
                    self.store_oldest(window)
            elif len(window) == self.n_step:
                self.store_oldest(window)

    def flush(self):
        for window in self.windows:
            if window:
                last = window[-1] = window[-1].clone()
                last["next", "truncated"] = last["next", "done"] = torch.tensor([True])
            while window:
                self.store_oldest(window)

    def store_oldest(self, window):
        reward = sum(GAMMA**i * float(step["next", "reward"]) for i, step in enumerate(window))
        row = window[0].exclude("env", "next").clone()
        row["next"] = window[-1]["next"].clone()
        row["next", "reward"] = torch.tensor([reward], dtype=torch.float32)
        alive = 1 - float(row["next", "terminated"])
        row["next", "discount"] = torch.tensor([GAMMA ** len(window) * alive], dtype=torch.float32)
        row["steps_to_next_obs"] = torch.tensor([len(window)])
        self.rows[self.stored % self.capacity] = row
        self.stored += 1
        window.pop(0)

    def all_rows(self):
        return torch.stack([row for row in self.rows if row is not None])


@pytest.mark.parametrize("buffer_class", [ReplayBuffer, prioritized(ReplayBuffer)])
@pytest.mark.parametrize("largest_cut", [1, 4, 70])
@pytest.mark.parametrize("num_envs", [1, 3])
@pytest.mark.parametrize("n_step", [1, 3, 5])
def test_content_and_samples_equal_the_twins(
    buffer_class, n_step, num_envs, largest_cut, random_steps, cuts, rows_of, assert_equal
):
    buffer = buffer_class(37, 8, gamma=GAMMA, n_step=n_step, num_envs=num_envs)
    twin = Twin(37, n_step, num_envs)
    for i, piece in enumerate(cuts(random_steps(150, num_envs, seed=n_step), largest_cut)):
        buffer.extend(piece)
        twin.extend(piece)
        if i % 10 == 3:
            buffer.flush()
            twin.flush()
        assert len(buffer) == min(twin.stored, 37)
    assert twin.stored > 100
    assert_equal(rows_of(buffer), twin.all_rows())
    sample = buffer.sample()
    index = sample.pop("index")
    sample.pop("priority_weight", None)
    assert_equal(sample, twin.all_rows()[index])


@pytest.mark.parametrize("n_step", [2, 5])
def test_every_step_starts_exactly_one_transition_however_the_steps_are_cut(n_step, random_steps, cuts, rows_of):
    steps = random_steps(200, 3)
    steps["action"] = torch.arange(200)
    orders = []
    for largest_cut in (1, 7, 200):
        buffer = ReplayBuffer(1000, 1, gamma=GAMMA, n_step=n_step, num_envs=3)
        for piece in cuts(steps, largest_cut):
            buffer.extend(piece)
        buffer.flush()
        orders.append(rows_of(buffer)["action"].tolist())
    assert sorted(orders[0]) == list(range(200))
    assert orders[0] == orders[1] == orders[2]


def test_more_rows_than_fit_keep_the_last(episode, rows_of):
    buffer = ReplayBuffer(4, 1, gamma=0.9)
    buffer.extend(episode([float(i) for i in range(11)]))
    assert rows_of(buffer)["action"].tolist() == [8, 9, 10, 7]


def test_every_row_is_drawn_alike(episode):
    buffer = ReplayBuffer(10, 1, gamma=0.9, seed=3)
    buffer.extend(episode([0.0] * 10))
    counts = buffer.sample(10_000)["index"].bincount(minlength=10).numpy()
    assert ((counts - 1000) ** 2 / 1000).sum() < 21.7  # chi-square, 9 degrees of freedom, 1 %


def test_sample_has_the_shapes_and_dtypes_it_states(random_steps):
    buffer = ReplayBuffer(50, 8, gamma=0.9)
    buffer.extend(random_steps(20, 1))
    sample = buffer.sample()
    assert sample.batch_size == sample["index"].shape == (8,)
    assert sample["index"].dtype is sample["steps_to_next_obs"].dtype is torch.int64
    assert sample["next", "discount"].shape == sample["steps_to_next_obs"].shape == (8, 1)
    assert sample["frame"].dtype is torch.uint8
    assert "env" not in sample
    assert buffer.sample(3).batch_size == (3,)


def test_a_sample_is_a_copy(episode, rows_of):
    buffer = ReplayBuffer(4, 4, gamma=0.9)
    buffer.extend(episode([1.0, 1.0]))
    buffer.sample()["next", "reward"].zero_()
    assert rows_of(buffer)["next", "reward"].tolist() == [[1.0], [1.0]]


def test_equal_seeds_draw_alike_and_other_seeds_do_not(episode):
    drawn = []
    for seed in (1, 1, 2):
        buffer = ReplayBuffer(100, 16, gamma=0.9, seed=seed)
        buffer.extend(episode([0.0] * 100))
        drawn.append(buffer.sample()["index"].tolist())
    assert drawn[0] == drawn[1] != drawn[2]


def test_global_random_state_is_neither_read_nor_moved(episode):
    buffer = ReplayBuffer(100, 16, gamma=0.9)
    buffer.extend(episode([0.0] * 100))
    before = torch.get_rng_state()
    buffer.sample()
    assert torch.equal(torch.get_rng_state(), before)


def test_nested_keys_keep_their_place(episode, rows_of):
    steps = episode([1.0, 2.0])
    steps["sensor", "near"] = torch.ones(2, 3)
    steps["next", "sensor", "near"] = torch.zeros(2, 3)
    buffer = ReplayBuffer(4, 2, gamma=0.9, n_step=2)
    buffer.extend(steps)
    assert buffer.sample()["sensor", "near"].shape == buffer.sample()["next", "sensor", "near"].shape == (2, 3)


def test_rows_that_need_a_gradient_are_stored_without_it(episode):
    steps = episode([1.0])
    steps["action_probability"] = torch.ones(1, 1, requires_grad=True)
    buffer = ReplayBuffer(4, 2, gamma=0.9)
    buffer.extend(steps)
    assert not buffer.sample()["action_probability"].requires_grad


@pytest.mark.parametrize("n_step", [1, 3])
@pytest.mark.parametrize("count", [0, 2, 60])
def test_a_loaded_buffer_continues_bit_for_bit(n_step, count, random_steps, saved_and_loaded, assert_equal):
    steps = random_steps(120, 3)
    buffer = ReplayBuffer(40, 8, gamma=GAMMA, n_step=n_step, num_envs=3, seed=5)
    buffer.extend(steps[:count])
    if len(buffer):
        buffer.sample()
    other = ReplayBuffer(40, 8, gamma=GAMMA, n_step=n_step, num_envs=3, seed=6)
    other.extend(random_steps(30, 3, seed=9))
    other.load_state_dict(saved_and_loaded(buffer.state_dict()))
    assert len(other) == len(buffer)
    for piece in steps[count:].split(10):
        buffer.extend(piece)
        other.extend(piece)
        assert_equal(other.sample(), buffer.sample())


def test_a_state_holds_the_filled_rows_only_and_does_not_change_later(episode, saved_and_loaded):
    buffer = ReplayBuffer(100_000, 1, gamma=0.9)
    buffer.extend(episode([1.0, 2.0]))
    state = buffer.state_dict()
    buffer.extend(episode([3.0]))
    assert {len(leaf) for leaf in state["rows"].values()} == {2}
    assert state["rows"]["observation"].untyped_storage().nbytes() == 8


def test_a_state_of_other_settings_is_refused(episode):
    state = ReplayBuffer(10, 1, gamma=0.9).state_dict()
    with pytest.raises(ValueError, match=r"other settings: gamma = 0\.8 here, 0\.9 saved; n_step = 2 here, 1 saved$"):
        ReplayBuffer(10, 1, gamma=0.8, n_step=2).load_state_dict(state)


def test_sampling_from_an_empty_buffer_raises():
    with pytest.raises(RuntimeError, match="the replay holds no complete transition yet; call extend before sample"):
        ReplayBuffer(10, 1, gamma=0.9).sample()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"capacity": 3, "batch_size": 4}, "expected a capacity of at least batch_size = 4, got 3"),
        ({"capacity": 3, "batch_size": 0}, "expected a batch_size of at least 1, got 0"),
        ({"capacity": 3, "batch_size": 1, "n_step": 4}, "expected n_step of at most capacity = 3, got 4"),
        ({"capacity": 3, "batch_size": 1, "n_step": 0}, "expected n_step of at least 1, got 0"),
        ({"capacity": 3, "batch_size": 1, "gamma": -0.1}, r"expected gamma in \[0, 1\], got -0.1"),
        ({"capacity": 3, "batch_size": 1, "num_envs": 0}, "expected num_envs of at least 1, got 0"),
    ],
)
def test_arguments_out_of_range_raise(arguments, message):
    with pytest.raises(ValueError, match=message):
        ReplayBuffer(**{"gamma": 0.9} | arguments)


def changed(steps, key, value):
    steps = steps.clone()
    return steps.exclude(key) if value is None else steps.set(key, value)


@pytest.mark.parametrize(
    ("key", "value", "error", "message"),
    [
        ("action", None, KeyError, "missing: action"),
        ("extra", torch.ones(2), KeyError, "new: extra"),
        ("observation", torch.ones(2, 3), ValueError, r"'observation' to be \[k, 1\] of torch.float32, .* \[2, 3\]"),
        ("action", torch.ones(2), ValueError, r"'action' to be \[k\] of torch.int64, .* got \[2\] of torch.float32"),
        ("env", torch.tensor([0, 7]), ValueError, "expected 'env' in 0 … 0, got 0 … 7"),
        ("env", torch.tensor([0, -1]), ValueError, "expected 'env' in 0 … 0, got -1 … 0"),
    ],
)
@pytest.mark.parametrize("n_step", [1, 3])
def test_rows_unlike_the_first_raise_and_change_nothing(
    n_step, key, value, error, message, episode, rows_of, assert_equal
):
    buffer, other = (ReplayBuffer(10, 1, gamma=0.9, n_step=n_step) for _ in range(2))
    for each in (buffer, other):
        each.extend(episode([1.0, 2.0], end=None))
    with pytest.raises(error, match=message):
        buffer.extend(changed(episode([1.0, 2.0]), key, value))
    for each in (buffer, other):
        each.extend(episode([3.0, 4.0]))
    assert_equal(rows_of(buffer), rows_of(other))


@pytest.mark.parametrize(
    ("key", "value", "error", "message"),
    [
        ("env", None, KeyError, "missing: env"),
        (("next", "truncated"), None, KeyError, "missing: .*next.*truncated"),
        ("index", torch.ones(2), KeyError, "new: index"),
        ("env", torch.zeros(2, 1, dtype=torch.int64), ValueError, r"'env' to be \[k\] of torch.int64, got \[2, 1\]"),
        ("env", torch.tensor([0, 1]), ValueError, "expected 'env' in 0 … 0, got 0 … 1; build the replay with num_envs"),
        (("next", "reward"), torch.ones(2), ValueError, r"to be \[k, 1\] of a float dtype, got \[2\]"),
        (("next", "terminated"), torch.ones(2, 1), ValueError, r"to be \[k, 1\] of torch.bool, got \[2, 1\] of"),
    ],
)
def test_first_rows_that_a_replay_cannot_use_raise_and_fix_nothing(key, value, error, message, episode):
    buffer = ReplayBuffer(10, 1, gamma=0.9)
    with pytest.raises(error, match=message):
        buffer.extend(changed(episode([1.0, 2.0]), key, value))
    buffer.extend(episode([1.0, 2.0]))
    assert len(buffer) == 2


def test_rows_with_a_time_dimension_raise(episode):
    steps = torch.stack([episode([1.0, 2.0])] * 3)
    with pytest.raises(ValueError, match=r"expected transitions of batch size \[k\], got \[3, 2\]"):
        ReplayBuffer(10, 1, gamma=0.9).extend(steps)


def test_no_rows_are_no_change(episode):
    buffer = ReplayBuffer(10, 1, gamma=0.9, n_step=3)
    buffer.extend(episode([1.0])[:0])
    assert len(buffer) == 0


def test_updating_and_annealing_change_nothing(episode):
    buffer, other = (ReplayBuffer(10, 4, gamma=0.9) for _ in range(2))
    for each in (buffer, other):
        each.extend(episode([1.0] * 10))
    buffer.update_priority(torch.tensor([0]), torch.tensor([np.nan]))
    buffer.anneal(0.5)
    assert torch.equal(buffer.sample()["index"], other.sample()["index"])


def test_a_sample_is_a_tensordict_with_a_nested_next(episode):
    buffer = ReplayBuffer(10, 4, gamma=0.9)
    buffer.extend(episode([1.0]))
    assert isinstance(buffer.sample()["next"], TensorDict)
