"""Repeated random actions."""

import pytest
import torch

from qframe.actions import Categorical, MultiCategorical
from qframe.exploration import EZGreedy


def explorer(**options):
    defaults = {"eps_init": 1.0, "eps_end": 1.0, "annealing_num_steps": 10, "num_envs": 4, "seed": 3}
    return EZGreedy(Categorical(5), **(defaults | options))


def test_without_epsilon_the_greedy_action_is_kept():
    greedy = torch.tensor([4, 3, 2, 1])
    assert explorer(eps_init=0.0, eps_end=0.0).explore(greedy).tolist() == greedy.tolist()


def test_actions_are_repeated_for_durations_of_a_heavy_tail():
    explore = explorer(num_envs=2000, mu=2.0, max_duration=50)
    action = torch.stack([explore.explore(torch.zeros(2000, dtype=torch.int64)) for _ in range(50)])
    same = (action[1:] == action[:-1]).float().mean().item()
    assert same > 0.5  # uniform draws of five actions would give 0.2
    first = action[:, :, None].eq(action[0][None, :, None]).squeeze(-1).int().cumprod(0).sum(0)  # the first run
    assert 0.4 < (first == 1).float().mean().item() < 0.6  # P(n = 1) = 6/π² of runs, less those drawn alike again


def test_every_action_is_drawn_and_durations_are_bounded():
    explore = explorer(num_envs=500, max_duration=3)
    for _ in range(20):
        action = explore.explore(torch.zeros(500, dtype=torch.int64))
        assert explore._remaining.max() <= 2
    assert set(action.tolist()) == set(range(5))


def test_epsilon_is_a_closed_form_of_frames():
    explore = explorer(eps_end=0.0)
    explore.step(5)
    assert explore.epsilon == 0.5


def test_a_repetition_ends_where_its_action_is_illegal():
    explore = explorer(num_envs=200)
    mask = torch.tensor([True, False, False, False, False]).expand(200, 5)
    for _ in range(10):
        assert explore.explore(torch.zeros(200, dtype=torch.int64), mask).tolist() == [0] * 200


def test_a_start_is_drawn_among_the_legal_actions_alone():
    explore = explorer(num_envs=6000)
    mask = torch.tensor([True, False, True, False, True]).expand(6000, 5)
    action = explore.explore(torch.zeros(6000, dtype=torch.int64), mask)
    assert (action.bincount(minlength=5) / 6000).tolist() == pytest.approx([1 / 3, 0, 1 / 3, 0, 1 / 3], abs=0.03)


def test_a_joint_action_is_repeated_as_a_whole_while_all_its_branches_are_legal():
    explore = EZGreedy(MultiCategorical([50, 50]), 1.0, 1.0, 10, num_envs=500, mu=1.01, max_duration=9, seed=3)
    greedy, every = torch.zeros(500, 2, dtype=torch.int64), torch.ones(500, 100, dtype=torch.bool)
    first = explore.explore(greedy, every)
    going_on = torch.from_numpy(explore._remaining > 0)
    assert going_on.float().mean() > 0.9
    second = explore.explore(greedy, every)
    assert torch.equal(first[going_on], second[going_on])
    every[torch.arange(500), 50 + second[:, 1]] = False  # the second branch's action is no longer legal
    third = explore.explore(greedy, every)
    assert not bool((third[:, 1] == second[:, 1]).any())


def test_a_saved_state_goes_on_bit_for_bit():
    first = explorer()
    greedy = torch.zeros(4, dtype=torch.int64)
    for _ in range(7):
        first.explore(greedy)
    second = explorer(seed=99)
    second.load_state_dict(first.state_dict())
    assert [first.explore(greedy).tolist() for _ in range(20)] == [second.explore(greedy).tolist() for _ in range(20)]


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"eps_init": 1.5}, r"eps_init in \[0, 1\], got 1.5"),
        ({"mu": 1.0}, "mu above 1"),
        ({"max_duration": 0}, "max_duration of at least 1"),
        ({"schedule": "cosine"}, "one of linear, exponential"),
    ],
)
def test_mistakes_are_refused(option, message):
    with pytest.raises(ValueError, match=message):
        explorer(**option)
