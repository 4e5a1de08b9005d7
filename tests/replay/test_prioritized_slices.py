"""Slices with priorities against a twin made of lists, and the numbers of the paper."""

import numpy as np
import pytest
import torch
from tensordict import TensorDict

from qframe.replay import ProportionalPriorities, SliceReplayBuffer
from tests.replay.test_slices import twin_slices

T = 4


def prioritized(capacity=40, batch_size=8, **settings):
    own = {name: settings.pop(name) for name in ("alpha", "beta", "beta_end", "eta") if name in settings}
    priorities = ProportionalPriorities(**{"alpha": 1.0, "epsilon": 0.0} | own)
    return SliceReplayBuffer(
        capacity, batch_size, **{"slice_length": T, "gamma": 0.5, "priorities": priorities} | settings
    )


def priorities(buffer, rows_of):
    """The priority of every slice, by the number of its first step, which is stored as its action."""
    first = rows_of(buffer)["action"].tolist()
    of_rows = buffer.state_dict()["priorities"]["priority"].tolist()
    return {step: p for step, p in zip(first, of_rows, strict=True) if p > 0}


@pytest.mark.parametrize("across_episodes", [True, False])
@pytest.mark.parametrize("largest_cut", [1, 5, 60])
@pytest.mark.parametrize("num_envs", [1, 3])
def test_every_slice_has_the_twins_priority(num_envs, largest_cut, across_episodes, random_steps, cuts, rows_of):
    steps = random_steps(150, num_envs)
    steps["action"] = torch.arange(150)
    buffer = prioritized(num_envs=num_envs, across_episodes=across_episodes)
    twin, largest, count, updates = {}, 1.0, 0, 0
    rng = np.random.default_rng(0)
    for piece in cuts(steps, largest_cut):
        buffer.extend(piece)
        # However many steps came at once, a slice is new if it was not there before.
        count += len(piece)
        there = twin_slices(steps[:count], T, 40 // num_envs) if count else set()
        twin = {start: twin.get(start, largest) for start, *_ in there}
        assert priorities(buffer, rows_of) == pytest.approx(twin)
        if not twin:
            continue
        sample = buffer.sample()
        assert {tuple(slice_) for slice_ in sample["action"].tolist()} <= there
        error = rng.random((2, T, 1)) * 3
        buffer.update_priority(sample["index"], torch.from_numpy(error))
        for place, (start, own) in enumerate(zip(sample["action"][:, 0].tolist(), error, strict=True)):
            counted = own if across_episodes else own[sample["loss_mask"][place].numpy()]
            twin[start] = 0.9 * counted.max() + 0.1 * counted.mean()
            largest = max(largest, twin[start])
        updates += 1
    assert updates > 2


def test_a_priority_is_nine_tenths_of_the_maximum_and_one_of_the_mean(episode, rows_of):
    buffer = prioritized(batch_size=4)
    buffer.extend(episode([0.0] * 5))
    assert priorities(buffer, rows_of) == {0: 1.0, 1: 1.0}
    buffer.update_priority(torch.tensor([[0, 1, 2, 3]]), torch.tensor([[[2.0], [0.0], [0.0], [2.0]]]))
    assert priorities(buffer, rows_of) == pytest.approx({0: 0.9 * 2 + 0.1 * 1, 1: 1.0})
    buffer.extend(episode([0.0]))
    assert buffer.state_dict()["priorities"]["priority"].tolist() == pytest.approx([1.9, 1.0, 1.9, 0.0, 0.0, 0.0])


def test_slices_are_drawn_in_proportion_to_their_priorities(episode):
    buffer = prioritized(batch_size=4, seed=1)
    buffer.extend(episode([0.0] * 7))
    errors = torch.tensor([1.0, 2.0, 5.0, 0.0])
    buffer.update_priority(torch.arange(4)[:, None] + torch.arange(T), errors[:, None].expand(4, T))
    counts = torch.cat([buffer.sample(4)["index"][:, 0] for _ in range(4000)]).bincount(minlength=4).numpy()
    expected = 4000 * np.array([1, 2, 5, 0]) / 8
    assert counts[3] == 0
    assert ((counts - expected)[:3] ** 2 / expected[:3]).sum() < 9.2  # chi-square, 2 degrees of freedom, 1 %


def test_the_weight_of_a_slice_stands_at_each_of_its_steps(episode):
    buffer = prioritized(batch_size=12, beta=0.5, beta_end=0.5)
    buffer.extend(episode([0.0] * 5))
    buffer.update_priority(torch.arange(2)[:, None] + torch.arange(T), torch.tensor([[2.0], [1.0]]).expand(2, T))
    sample = buffer.sample()
    assert sample["index"][:, 0].tolist() == [0, 0, 1]  # P = 2/3, 1/3, a draw from each third
    assert sample["priority_weight"].shape == (3, T, 1)
    assert sample["priority_weight"].dtype is torch.float32
    expected = torch.tensor([[0.5**0.5], [0.5**0.5], [1.0]]).expand(3, T)
    torch.testing.assert_close(sample["priority_weight"].squeeze(-1), expected)
    assert sample.names == [None, "time"]


def test_a_slice_that_was_overwritten_since_it_was_drawn_is_passed_over(episode, rows_of):
    buffer = prioritized(capacity=6, batch_size=4)
    buffer.extend(episode([0.0] * 4, end=None))
    sample = buffer.sample()
    later = episode([0.0] * 3, end=None)
    later["action"] += 4
    buffer.extend(later)
    buffer.update_priority(sample["index"], torch.full((1, T), 7.0))
    assert priorities(buffer, rows_of) == {1: 1.0, 2: 1.0, 3: 1.0}


@pytest.mark.parametrize("wrong", [float("nan"), float("inf"), -0.1])
def test_errors_that_are_no_priority_raise_and_change_nothing(wrong, episode, rows_of):
    buffer = prioritized(batch_size=4)
    buffer.extend(episode([0.0] * 4))
    with pytest.raises(ValueError, match=r"expected td_error to be finite and at least 0, got .* \(1 of 4\)"):
        buffer.update_priority(torch.tensor([[0, 1, 2, 3]]), torch.tensor([[5.0, wrong, 1.0, 1.0]]))
    assert priorities(buffer, rows_of) == {0: 1.0}


def test_errors_of_other_rows_raise(episode):
    buffer = prioritized(batch_size=4)
    buffer.extend(episode([0.0] * 4))
    with pytest.raises(ValueError, match="expected one td_error per row, got 3 for 4"):
        buffer.update_priority(torch.tensor([[0, 1, 2, 3]]), torch.ones(3))
    with pytest.raises(IndexError, match=r"expected rows in 0 … 39, got 40 … 43"):
        buffer.update_priority(torch.tensor([[40, 41, 42, 43]]), torch.ones(1, T))


def test_too_few_steps_raise(episode):
    buffer = prioritized()
    with pytest.raises(RuntimeError, match="no environment has the 4 steps of a slice yet, at most 0; call extend"):
        buffer.sample()


def test_a_priority_is_of_the_steps_that_are_learned_from(episode, rows_of):
    buffer = prioritized(batch_size=4, burn_in=1, across_episodes=False)
    buffer.extend(TensorDict.cat([episode([0.0] * 3), episode([0.0])]))
    buffer.update_priority(torch.tensor([[0, 1, 2, 3]]), torch.tensor([[9.0, 1.0, 3.0, 9.0]]))
    assert priorities(buffer, rows_of) == pytest.approx({0: 0.9 * 3 + 0.1 * 2})


def test_zero_priorities_alone_cannot_be_sampled(episode):
    buffer = prioritized(batch_size=4)
    buffer.extend(episode([0.0] * 4))
    buffer.update_priority(torch.tensor([[0, 1, 2, 3]]), torch.zeros(1, T))
    with pytest.raises(RuntimeError, match="no row has a priority above 0"):
        buffer.sample()


@pytest.mark.parametrize("across_episodes", [True, False])
@pytest.mark.parametrize("count", [0, 30, 90])
def test_a_loaded_buffer_continues_bit_for_bit(count, across_episodes, random_steps, saved_and_loaded, assert_equal):
    def use(buffer, piece):
        buffer.extend(piece)
        sample = buffer.sample()
        buffer.update_priority(sample["index"], sample["next", "reward"].abs())
        buffer.anneal(0.3)
        return sample

    steps = random_steps(140, 3)
    buffer, other = (prioritized(num_envs=3, across_episodes=across_episodes, seed=seed) for seed in (1, 2))
    for piece in steps[:count].split(30) if count else []:
        use(buffer, piece)
    use(other, random_steps(40, 3, seed=8))
    other.load_state_dict(saved_and_loaded(buffer.state_dict()))
    assert other.priorities.beta == buffer.priorities.beta
    for piece in steps[count:].split(25):
        assert_equal(use(other, piece), use(buffer, piece))


@pytest.mark.parametrize(("name", "here", "saved"), [("alpha", 0.5, 1.0), ("slice_length", 2, 4)])
def test_a_state_of_other_settings_is_refused(name, here, saved):
    with pytest.raises(ValueError, match=rf"{name} = {here} here, {saved} saved"):
        prioritized(**{name: here}).load_state_dict(prioritized().state_dict())


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("alpha", -0.1, "expected alpha of at least 0, got -0.1"),
        ("beta", 1.5, r"expected beta in \[0, 1\], got 1.5"),
        ("batch_size", 6, "a multiple of slice_length = 4, got 6; use 8"),
    ],
)
def test_arguments_out_of_range_raise(name, value, message):
    with pytest.raises(ValueError, match=message):
        prioritized(**{name: value})
