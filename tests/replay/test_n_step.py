"""The n-step fold on episodes whose returns can be checked by hand, through the buffer that uses it."""

import pytest
import torch
from tensordict import TensorDict

from qframe.replay import NStepFold, ReplayBuffer


def filled(steps, **settings):
    buffer = ReplayBuffer(100, 1, **{"gamma": 0.5, "n_step": 3, "num_envs": 2} | settings)
    buffer.extend(steps)
    return buffer


def column(rows, *key):
    return rows[key].flatten().tolist()


def test_three_steps_are_summed_and_the_end_of_the_episode_shortens_the_last_two(episode, rows_of):
    rows = rows_of(filled(episode([1.0, 2.0, 4.0, 8.0])))
    assert column(rows, "next", "reward") == [3.0, 6.0, 8.0, 8.0]
    assert column(rows, "observation") == [0.0, 1.0, 2.0, 3.0]
    assert column(rows, "action") == [0, 1, 2, 3]
    assert column(rows, "next", "observation") == [3.0, 4.0, 4.0, 4.0]
    assert column(rows, "steps_to_next_obs") == [3, 3, 2, 1]
    assert column(rows, "next", "discount") == [0.125, 0.0, 0.0, 0.0]
    assert column(rows, "next", "terminated") == [False, True, True, True]


def test_truncated_episode_still_bootstraps_from_as_many_steps_as_it_had(episode, rows_of):
    rows = rows_of(filled(episode([1.0, 2.0], end="truncated")))
    assert column(rows, "next", "reward") == [2.0, 2.0]
    assert column(rows, "next", "discount") == [0.25, 0.5]
    assert column(rows, "next", "truncated") == [True, True]
    assert column(rows, "next", "done") == [True, True]
    assert column(rows, "next", "terminated") == [False, False]


def test_steps_that_are_not_complete_wait(episode):
    assert len(filled(episode([1.0, 2.0], end=None))) == 0
    assert len(filled(episode([1.0, 2.0, 3.0], end=None))) == 1


def test_an_episode_of_one_step_is_a_transition_of_one_step(episode, rows_of):
    rows = rows_of(filled(episode([7.0]), gamma=0.9))
    assert column(rows, "next", "reward") == [7.0]
    assert column(rows, "steps_to_next_obs") == [1]
    assert column(rows, "next", "discount") == [0.0]


def test_an_episode_ends_as_its_nth_step_is_taken(episode, rows_of):
    rows = rows_of(filled(episode([1.0, 2.0, 4.0])))
    assert column(rows, "next", "reward") == [3.0, 4.0, 4.0]
    assert column(rows, "steps_to_next_obs") == [3, 2, 1]


def test_nothing_flows_from_one_episode_or_environment_into_another(episode, rows_of):
    ones, tens = episode([1.0, 1.0]), episode([10.0, 10.0], env=1)
    woven = TensorDict.cat([ones[:1], tens[:1], ones[1:], tens[1:], episode([100.0])])
    rows = rows_of(filled(woven, gamma=1.0))
    assert column(rows, "next", "reward") == [2.0, 1.0, 20.0, 10.0, 100.0]


def test_one_step_is_stored_as_it_came(episode, rows_of):
    steps = episode([1.0, 2.0, 4.0])
    rows = rows_of(filled(steps, n_step=1))
    assert column(rows, "next", "reward") == [1.0, 2.0, 4.0]
    assert column(rows, "next", "discount") == [0.5, 0.5, 0.0]
    assert column(rows, "steps_to_next_obs") == [1, 1, 1]
    assert rows["next", "discount"].shape == rows["steps_to_next_obs"].shape == (3, 1)
    assert rows["steps_to_next_obs"].dtype is torch.int64


def test_gamma_zero_keeps_the_first_reward_alone(episode, rows_of):
    rows = rows_of(filled(episode([1.0, 2.0, 4.0], end="truncated"), gamma=0.0))
    assert column(rows, "next", "reward") == [1.0, 2.0, 4.0]
    assert column(rows, "next", "discount") == [0.0, 0.0, 0.0]


def test_flush_truncates_what_is_open_after_its_last_step(episode, rows_of):
    buffer = filled(episode([1.0, 2.0], end=None))
    buffer.flush()
    rows = rows_of(buffer)
    assert column(rows, "next", "reward") == [2.0, 2.0]
    assert column(rows, "next", "observation") == [2.0, 2.0]
    assert column(rows, "next", "discount") == [0.25, 0.5]
    assert column(rows, "next", "truncated") == column(rows, "next", "done") == [True, True]
    assert column(rows, "next", "terminated") == [False, False]
    buffer.flush()
    assert len(buffer) == 2


def test_flush_of_one_environment_leaves_the_others_open(episode, rows_of):
    buffer = filled(TensorDict.cat([episode([1.0], end=None), episode([10.0], end=None, env=1)]))
    buffer.flush(env=1)
    assert column(rows_of(buffer), "next", "reward") == [10.0]
    buffer.extend(episode([4.0]))
    assert column(rows_of(buffer), "next", "reward") == [10.0, 3.0, 4.0]


def test_flush_of_an_environment_that_is_not_there_raises():
    with pytest.raises(ValueError, match="expected 'env' in 0 … 1, got 2"):
        ReplayBuffer(10, 1, gamma=0.9, n_step=3, num_envs=2).flush(env=2)


def test_flush_of_an_empty_buffer_does_nothing():
    buffer = ReplayBuffer(10, 1, gamma=0.9, n_step=3)
    buffer.flush()
    assert len(buffer) == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"n_step": 0, "gamma": 0.9}, "expected n_step of at least 1, got 0"),
        ({"n_step": 1, "gamma": 1.1}, r"expected gamma in \[0, 1\], got 1.1"),
        ({"n_step": 1, "gamma": float("nan")}, r"expected gamma in \[0, 1\], got nan"),
        ({"n_step": 1, "gamma": 0.9, "num_envs": 0}, "expected num_envs of at least 1, got 0"),
    ],
)
def test_arguments_out_of_range_raise(arguments, message):
    with pytest.raises(ValueError, match=message):
        NStepFold(**arguments)
