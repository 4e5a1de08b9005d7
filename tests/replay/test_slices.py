"""Trajectory slices against a twin made of one list per environment."""

import pytest
import torch
from tensordict import TensorDict

from qframe.replay import SliceReplayBuffer


def sliced(capacity=40, batch_size=8, **settings):
    return SliceReplayBuffer(capacity, batch_size, **{"slice_length": 4, "gamma": 0.5} | settings)


def twin_slices(steps, length, kept):
    """All slices of ``length`` consecutive rows of one environment among its last ``kept``, as row numbers."""
    slices = set()
    for env in range(int(steps["env"].max()) + 1):
        rows = (steps["env"] == env).nonzero().flatten().tolist()[-kept:]
        for start in range(len(rows) - length + 1):
            slices.add(tuple(rows[start : start + length]))
    return slices


@pytest.mark.parametrize("across_episodes", [True, False])
@pytest.mark.parametrize("largest_cut", [1, 5, 60])
@pytest.mark.parametrize("num_envs", [1, 3])
def test_exactly_the_twins_slices_are_drawn(num_envs, largest_cut, across_episodes, random_steps, cuts, assert_equal):
    steps = random_steps(100, num_envs)
    steps["action"] = torch.arange(100)
    buffer = sliced(num_envs=num_envs, across_episodes=across_episodes)
    for piece in cuts(steps, largest_cut):
        buffer.extend(piece)
    sample = buffer.sample(4000)
    drawn = {tuple(row) for row in sample["action"].tolist()}
    assert drawn == twin_slices(steps, 4, 40 // num_envs)
    rows = steps[sample["action"].flatten()].exclude("env")
    rows["next", "discount"] = 0.5 * (~rows["next", "terminated"]).float()
    rows["steps_to_next_obs"] = torch.ones(4000, 1, dtype=torch.int64)
    assert_equal(sample.exclude("index", "loss_mask").reshape(-1), rows)
    if across_episodes:
        assert "loss_mask" not in sample
        return
    for counted, ends in zip(sample["loss_mask"].tolist(), sample["next", "done"].tolist(), strict=True):
        assert counted == [[not any(end for (end,) in ends[:t])] for t in range(4)]


@pytest.mark.parametrize("across_episodes", [True, False])
def test_every_start_is_drawn_alike(across_episodes, episode):
    buffer = sliced(num_envs=2, across_episodes=across_episodes, seed=1)
    buffer.extend(TensorDict.cat([episode([0.0] * 9), episode([0.0] * 5, env=1)]))
    counts = buffer.sample(4 * 8000)["index"][:, 0].bincount()
    counts = counts[counts > 0].numpy()  # 6 starts in one environment, 2 in the other
    assert len(counts) == 8
    assert ((counts - 1000) ** 2 / 1000).sum() < 18.5  # chi-square, 7 degrees of freedom, 1 %


@pytest.mark.parametrize("burn_in", [0, 3])
@pytest.mark.parametrize("stride", [2, 7])
def test_learning_begins_at_multiples_of_the_stride_from_the_start_of_an_episode(stride, burn_in, episode):
    lengths = [5, 9, 1, 3, 20]
    steps = TensorDict.cat([episode([0.0] * length) for length in lengths])
    steps["action"] = torch.arange(len(steps))
    ages = [age for length in lengths for age in range(length)]  # of every step in its episode
    buffer = sliced(stride=stride, burn_in=burn_in, seed=2)
    buffer.extend(steps)
    counts = buffer.sample(4 * 4000)["action"][:, burn_in].bincount(minlength=len(ages))
    starts = [step for step in range(burn_in, len(ages) - 3 + burn_in) if ages[step] % stride == 0]
    assert counts.nonzero().flatten().tolist() == starts
    expected = 4000 / len(starts)
    assert ((counts[starts] - expected).square() / expected).sum() < 31  # chi-square, at most 15 degrees, 1 %


def test_returns_of_n_steps_end_with_the_episode_and_with_the_slice(episode):
    buffer = sliced(batch_size=5, slice_length=5, n_step=3)
    buffer.extend(TensorDict.cat([episode([1.0, 2.0], end="terminated"), episode([4.0, 8.0, 16.0], end=None)]))
    sample = buffer.sample()
    assert sample["next", "reward"].flatten().tolist() == [1 + 2 / 2, 2.0, 4 + 8 / 2 + 16 / 4, 8 + 16 / 2, 16.0]
    assert sample["steps_to_next_obs"].flatten().tolist() == [2, 1, 3, 2, 1]
    assert sample["next", "discount"].flatten().tolist() == [0.0, 0.0, 0.125, 0.25, 0.5]
    assert sample["next", "done"].flatten().tolist() == [True, True, False, False, False]
    assert sample["next", "observation"].flatten().tolist() == [2.0, 2.0, 3.0, 3.0, 3.0]


def test_padding_begins_behind_the_first_end_after_the_burn_in(episode):
    buffer = sliced(batch_size=6, slice_length=6, burn_in=2, across_episodes=False)
    buffer.extend(TensorDict.cat([episode([0.0]), episode([0.0] * 3), episode([0.0] * 2)]))
    assert buffer.sample()["loss_mask"].flatten().tolist() == [True, True, True, True, False, False]


def test_sample_has_the_shapes_it_states_and_a_named_time(random_steps):
    buffer = sliced()
    buffer.extend(random_steps(30, 1))
    sample = buffer.sample()
    assert sample.batch_size == sample["index"].shape == (2, 4)
    assert sample.names == sample["next"].names == [None, "time"]
    assert sample["next", "discount"].shape == sample["steps_to_next_obs"].shape == (2, 4, 1)
    assert sample["frame"].shape == (2, 4, 3, 2)
    assert sample["frame"].dtype is torch.uint8
    assert "env" not in sample


def test_an_episode_end_within_a_slice_is_marked_and_discounts_are_per_step(episode):
    buffer = sliced(batch_size=4)
    buffer.extend(TensorDict.cat([episode([0.0, 0.0]), episode([0.0, 0.0], end="truncated")]))
    sample = buffer.sample()
    assert sample["next", "done"].flatten().tolist() == [False, True, False, True]
    assert sample["next", "discount"].flatten().tolist() == [0.5, 0.0, 0.5, 0.5]
    assert sample["observation"].flatten().tolist() == [0.0, 1.0, 0.0, 1.0]
    assert sample["next", "observation"].flatten().tolist() == [1.0, 2.0, 1.0, 2.0]


def test_a_full_ring_is_sampled_from_its_oldest_step_on(episode):
    buffer = sliced(capacity=4, batch_size=4)
    buffer.extend(episode([0.0] * 7))
    assert buffer.sample()["action"].tolist() == [[3, 4, 5, 6]]
    assert len(buffer) == 4


def test_flush_ends_the_episode_at_its_last_step(episode):
    buffer = sliced(capacity=8, batch_size=4, num_envs=2)
    buffer.extend(TensorDict.cat([episode([0.0] * 2, end=None), episode([0.0] * 4, end=None, env=1)]))
    buffer.flush(env=0)
    buffer.extend(episode([0.0] * 2, end=None))
    ends = {tuple(row) for row in buffer.sample(400)["next", "done"].flatten(1).tolist()}
    assert ends == {(False, True, False, False), (False, False, False, False)}
    buffer.flush()
    sample = buffer.sample(400)
    ends = {tuple(row) for row in sample["next", "truncated"].flatten(1).tolist()}
    assert ends == {(False, True, False, True), (False, False, False, True)}
    assert (sample["next", "discount"] == 0.5).all()


def test_flush_parts_what_comes_before_from_what_comes_after(episode):
    buffer = sliced(batch_size=4, across_episodes=False)
    buffer.extend(episode([0.0] * 3, end=None))
    buffer.flush()
    buffer.extend(episode([0.0], end=None))
    assert buffer.sample()["loss_mask"].flatten().tolist() == [True, True, True, False]


def test_flush_after_an_end_or_on_an_empty_buffer_does_nothing(episode):
    buffer = sliced(batch_size=4)
    buffer.flush()
    buffer.extend(episode([0.0] * 4))
    buffer.flush()
    assert not buffer.sample()["next", "truncated"].any()


def test_too_few_steps_raise(episode):
    buffer = sliced(num_envs=2)
    with pytest.raises(RuntimeError, match="no environment has the 4 steps of a slice yet, at most 0; call extend"):
        buffer.sample()
    buffer.extend(TensorDict.cat([episode([0.0] * 3), episode([0.0] * 3, env=1)]))
    with pytest.raises(RuntimeError, match="the 4 steps of a slice yet, at most 3; call extend"):
        buffer.sample()


@pytest.mark.parametrize("across_episodes", [True, False])
@pytest.mark.parametrize("count", [0, 30, 90])
def test_a_loaded_buffer_continues_bit_for_bit(count, across_episodes, random_steps, saved_and_loaded, assert_equal):
    steps = random_steps(140, 3)
    buffer, other = (sliced(num_envs=3, across_episodes=across_episodes, seed=seed) for seed in (1, 2))
    buffer.extend(steps[:count])
    other.extend(random_steps(35, 3, seed=4))
    other.sample()
    other.load_state_dict(saved_and_loaded(buffer.state_dict()))
    assert len(other) == len(buffer)
    for piece in steps[count:].split(25):
        buffer.extend(piece)
        other.extend(piece)
        assert_equal(other.sample(), buffer.sample())


def test_a_state_of_other_settings_is_refused():
    with pytest.raises(ValueError, match=r"num_envs = 2 here, 1 saved"):
        sliced(num_envs=2).load_state_dict(sliced().state_dict())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"batch_size": 6}, "a multiple of slice_length = 4, got 6; use 8"),
        ({"batch_size": 2}, "a multiple of slice_length = 4, got 2; use 4"),
        ({"slice_length": 0}, "expected slice_length of at least 1, got 0"),
        ({"num_envs": 0}, "expected num_envs of at least 1, got 0"),
        ({"num_envs": 11}, "expected a capacity of at least num_envs · slice_length = 44, got 40"),
        ({"capacity": 7}, "expected a capacity of at least batch_size = 8, got 7"),
        ({"gamma": 2.0}, r"expected gamma in \[0, 1\], got 2.0"),
    ],
)
def test_arguments_out_of_range_raise(arguments, message):
    with pytest.raises(ValueError, match=message):
        sliced(**arguments)


def test_a_sample_of_a_broken_slice_raises(episode):
    buffer = sliced()
    buffer.extend(episode([0.0] * 9))
    with pytest.raises(ValueError, match="a multiple of slice_length = 4, got 5"):
        buffer.sample(5)


def test_a_missing_key_and_an_unknown_environment_raise(episode):
    buffer = sliced()
    buffer.extend(episode([0.0]))
    with pytest.raises(KeyError, match="missing: action"):
        buffer.extend(episode([0.0]).exclude("action"))
    with pytest.raises(ValueError, match="expected 'env' in 0 … 0, got 1 … 1"):
        buffer.extend(episode([0.0], env=1))
    assert len(buffer) == 1


def test_updating_and_annealing_change_nothing(episode):
    buffer, other = sliced(), sliced()
    for each in (buffer, other):
        each.extend(episode([0.0] * 20))
    buffer.update_priority(torch.tensor([0]), torch.tensor([1.0]))
    buffer.anneal(0.5)
    assert torch.equal(buffer.sample()["index"], other.sample()["index"])
