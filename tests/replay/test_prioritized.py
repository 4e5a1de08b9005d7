"""Prioritized sampling: distribution, weights, priorities of new rows, errors, and going on after a load."""

import numpy as np
import pytest
import torch

from qframe.replay import ProportionalPriorities, ReplayBuffer


def prioritized(count, batch_size=4, capacity=10, **settings):
    seed = settings.pop("seed", 0)
    priorities = ProportionalPriorities(**{"alpha": 1.0, "epsilon": 0.0} | settings)
    return ReplayBuffer(capacity, batch_size, gamma=0.9, priorities=priorities, seed=seed)


def with_errors(episode, errors, **settings):
    buffer = prioritized(len(errors), **settings)
    buffer.extend(episode([0.0] * len(errors)))
    buffer.update_priority(torch.arange(len(errors)), torch.tensor(errors))
    return buffer


def priorities(buffer):
    return buffer.state_dict()["priorities"]["priority"].tolist()


@pytest.mark.parametrize("alpha", [0.0, 0.5, 1.0])
def test_rows_are_drawn_in_proportion_to_their_priorities(alpha, episode):
    errors = [0.5, 1.0, 2.0, 4.0, 0.25]
    buffer = with_errors(episode, errors, alpha=alpha, seed=1)
    drawn = torch.cat([buffer.sample(1)["index"] for _ in range(4000)])
    share = np.array(errors) ** alpha
    expected = 4000 * share / share.sum()
    chi_square = ((drawn.bincount(minlength=5).numpy() - expected) ** 2 / expected).sum()
    assert chi_square < 13.3  # 4 degrees of freedom, 1 %


def test_alpha_zero_is_uniform_whatever_the_errors(episode):
    buffer = with_errors(episode, [0.0, 1.0, 1e6], alpha=0.0)
    assert priorities(buffer) == [1.0, 1.0, 1.0]
    assert buffer.sample()["priority_weight"].tolist() == [[1.0]] * 4


def test_a_batch_has_one_row_from_each_equal_part_of_the_mass(episode):
    buffer = with_errors(episode, [2.0, 1.0, 1.0])
    for _ in range(50):
        assert buffer.sample(4)["index"].tolist() == [0, 0, 1, 2]


def test_weights_are_those_of_the_paper_by_hand(episode):
    buffer = with_errors(episode, [2.0, 1.0, 1.0], beta=0.5)
    weight = buffer.sample(4)["priority_weight"]
    # N = 3, P = 1/2, 1/4, 1/4: (3/2)^−½ and (3/4)^−½, divided by the latter, the largest: √½ and 1
    assert weight.dtype is torch.float32
    torch.testing.assert_close(weight, torch.tensor([[0.70710678], [0.70710678], [1.0], [1.0]]))


def test_weights_equal_the_formula_on_random_priorities(episode):
    errors = np.random.default_rng(0).random(50).tolist()
    buffer = with_errors(episode, errors, capacity=60, batch_size=16, alpha=0.7, epsilon=1e-3, beta=0.6)
    sample = buffer.sample()
    priority = (np.array(errors, np.float32).astype(float) + 1e-3) ** 0.7
    weight = (50 * priority / priority.sum())[sample["index"].numpy()] ** -0.6
    np.testing.assert_allclose(sample["priority_weight"].numpy()[:, 0], weight / weight.max(), rtol=1e-6)


def test_beta_runs_linearly_to_its_end_and_stays_there():
    buffer = prioritized(0, beta=0.4, beta_end=0.8)
    betas = []
    for fraction in (-1.0, 0.0, 0.5, 1.0, 2.0):
        buffer.anneal(fraction)
        betas.append(buffer.priorities.beta)
    assert betas == pytest.approx([0.4, 0.4, 0.6, 0.8, 0.8])


def test_beta_zero_corrects_nothing(episode):
    buffer = with_errors(episode, [1.0, 2.0, 3.0], beta=0.0, beta_end=0.0)
    assert buffer.sample()["priority_weight"].tolist() == [[1.0]] * 4


def test_new_rows_have_the_largest_error_so_far_and_one_before_any(episode):
    buffer = prioritized(0)
    buffer.extend(episode([0.0, 0.0]))
    assert priorities(buffer) == [1.0, 1.0]
    buffer.update_priority(torch.tensor([0]), torch.tensor([0.5]))
    buffer.extend(episode([0.0]))
    assert priorities(buffer) == [0.5, 1.0, 1.0]
    buffer.update_priority(torch.tensor([0]), torch.tensor([3.0]))
    buffer.update_priority(torch.tensor([0]), torch.tensor([0.25]))
    buffer.extend(episode([0.0]))
    assert priorities(buffer) == [0.25, 1.0, 1.0, 3.0]


def test_priority_is_the_error_plus_epsilon_to_the_power_of_alpha(episode):
    buffer = with_errors(episode, [3.0, 8.0], alpha=0.5, epsilon=1.0)
    assert priorities(buffer) == [2.0, 3.0]


def test_an_error_above_the_largest_allowed_counts_as_that(episode):
    buffer = with_errors(episode, [3.0, 0.25, 1e6], max_td_error=0.5)
    buffer.extend(episode([0.0]))
    assert priorities(buffer) == [0.5, 0.25, 0.5, 0.5]
    assert priorities(with_errors(episode, [3.0, 1e6], alpha=0.5, epsilon=1.0, max_td_error=8.0)) == [2.0, 3.0]


def test_new_rows_have_no_larger_error_than_is_allowed(episode):
    buffer = prioritized(1, max_td_error=0.5)
    buffer.extend(episode([0.0, 0.0]))
    assert priorities(buffer) == [0.5, 0.5]


def test_rows_that_are_overwritten_get_the_priority_of_new_ones(episode):
    buffer = with_errors(episode, [9.0, 0.5, 0.25], capacity=4)
    buffer.extend(episode([0.0, 0.0]))
    assert priorities(buffer) == [9.0, 0.5, 0.25, 9.0]


def test_a_row_that_repeats_takes_the_last_error(episode):
    buffer = with_errors(episode, [1.0, 1.0])
    buffer.update_priority(torch.tensor([1, 1, 1]), torch.tensor([[5.0], [7.0], [0.5]]))
    assert priorities(buffer) == [1.0, 0.5]


def test_a_row_of_zero_priority_is_never_drawn(episode):
    buffer = with_errors(episode, [0.0, 1.0, 0.0, 0.0])
    assert set(buffer.sample(500)["index"].tolist()) == {1}


def test_zero_priorities_alone_cannot_be_sampled(episode):
    with pytest.raises(RuntimeError, match="no row has a priority above 0"):
        with_errors(episode, [0.0, 0.0]).sample()


def test_a_single_row_is_all_there_is_to_draw(episode):
    sample = with_errors(episode, [1e-12]).sample()
    assert sample["index"].tolist() == [0] * 4
    assert sample["priority_weight"].tolist() == [[1.0]] * 4


def test_rows_outside_the_filled_range_are_never_drawn(episode):
    buffer = prioritized(0, capacity=5000, batch_size=64)
    for count in (1, 2, 30, 2, 1000):
        buffer.extend(episode([0.0] * count))
        assert buffer.sample()["index"].max() < len(buffer)


@pytest.mark.parametrize("wrong", [float("nan"), float("inf"), -0.1])
def test_errors_that_are_no_priority_raise_and_change_nothing(wrong, episode):
    buffer = with_errors(episode, [1.0, 2.0])
    with pytest.raises(ValueError, match=r"expected td_error to be finite and at least 0, got .* \(1 of 2\)"):
        buffer.update_priority(torch.tensor([0, 1]), torch.tensor([5.0, wrong]))
    assert priorities(buffer) == [1.0, 2.0]
    buffer.extend(episode([0.0]))
    assert priorities(buffer) == [1.0, 2.0, 2.0]


def test_an_error_too_few_raises(episode):
    buffer = with_errors(episode, [1.0, 2.0])
    with pytest.raises(ValueError, match="expected one td_error per row, got 1 for 2"):
        buffer.update_priority(torch.tensor([0, 1]), torch.tensor([5.0]))


@pytest.mark.parametrize("row", [-1, 2])
def test_rows_that_are_not_filled_cannot_be_updated(row, episode):
    buffer = with_errors(episode, [1.0, 2.0])
    with pytest.raises(IndexError, match="expected rows in 0 … 1, got"):
        buffer.update_priority(torch.tensor([row]), torch.tensor([5.0]))


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("alpha", -0.1, "expected alpha of at least 0, got -0.1"),
        ("epsilon", float("nan"), "expected epsilon of at least 0, got nan"),
        ("max_td_error", 0.0, "expected max_td_error above 0 or none, got 0.0"),
        ("max_td_error", float("nan"), "expected max_td_error above 0 or none, got nan"),
        ("beta", 1.5, r"expected beta in \[0, 1\], got 1.5"),
        ("beta_end", -1.0, r"expected beta_end in \[0, 1\], got -1.0"),
        ("eta", 1.1, r"expected eta in \[0, 1\], got 1.1"),
    ],
)
def test_arguments_out_of_range_raise(name, value, message):
    with pytest.raises(ValueError, match=message):
        ProportionalPriorities(**{name: value})


def test_two_replays_cannot_share_their_priorities():
    priorities = ProportionalPriorities()
    ReplayBuffer(10, 4, gamma=0.9, priorities=priorities)
    with pytest.raises(ValueError, match="belong to another replay already; give every replay its own"):
        ReplayBuffer(10, 4, gamma=0.9, priorities=priorities)


def test_a_state_with_priorities_is_refused_without_them_and_the_reverse():
    plain = ReplayBuffer(10, 4, gamma=0.9)
    with pytest.raises(ValueError, match="other settings: priorities = None here, ProportionalPriorities saved"):
        plain.load_state_dict(prioritized(0).state_dict())
    with pytest.raises(ValueError, match="other settings: priorities = ProportionalPriorities here, None saved"):
        prioritized(0).load_state_dict(plain.state_dict())


@pytest.mark.parametrize("count", [0, 20, 70])
def test_a_loaded_buffer_continues_bit_for_bit(count, random_steps, saved_and_loaded, assert_equal):
    def build(seed):
        priorities = ProportionalPriorities()
        return ReplayBuffer(50, 8, gamma=0.9, n_step=3, num_envs=3, priorities=priorities, seed=seed)

    def use(buffer, piece):
        buffer.extend(piece)
        sample = buffer.sample()
        buffer.update_priority(sample["index"], sample["next", "reward"].abs())
        buffer.anneal(0.3)
        return sample

    steps = random_steps(140, 3)
    buffer, other = build(seed=1), build(seed=2)
    for piece in steps[:count].split(10) if count else []:
        use(buffer, piece)
    use(other, random_steps(40, 3, seed=8))
    other.load_state_dict(saved_and_loaded(buffer.state_dict()))
    assert other.priorities.beta == buffer.priorities.beta
    for piece in steps[count:].split(10):
        assert_equal(use(other, piece), use(buffer, piece))


def test_a_state_of_another_largest_error_is_refused_and_one_that_has_none_is_not():
    state = prioritized(0).state_dict()
    with pytest.raises(ValueError, match=r"max_td_error = 2\.0 here, None saved"):
        prioritized(0, max_td_error=2.0).load_state_dict(state)
    del state["settings"]["max_td_error"]  # saved before there was such a setting
    prioritized(0).load_state_dict(state)


def test_a_state_of_another_alpha_is_refused():
    with pytest.raises(ValueError, match=r"alpha = 0\.5 here, 1\.0 saved"):
        prioritized(0, alpha=0.5).load_state_dict(prioritized(0).state_dict())
