"""DeepSea: its rewards along known paths."""

import gymnasium as gym
import pytest
from gymnasium.utils.env_checker import check_env

from qframe.envs import DeepSea


def returned(env, moves):
    """The return of an episode of these moves: True is right."""
    env.reset(seed=0)
    total, column, terminated = 0.0, 0, False
    for row, right in enumerate(moves):
        assert not terminated
        action = env.right[row, column]
        _, reward, terminated, truncated, _ = env.step(action if right else 1 - action)
        total, column = total + reward, min(column + 1, env.size - 1) if right else max(column - 1, 0)
        assert not truncated
    assert terminated
    return total


def test_only_the_way_straight_to_the_right_finds_the_treasure():
    env = DeepSea(5)
    assert returned(env, [True] * 5) == pytest.approx(0.99)
    assert returned(env, [True] * 4 + [False]) == pytest.approx(-0.008)
    assert returned(env, [False] + [True] * 4) == pytest.approx(-0.008)
    assert returned(env, [False] * 5) == 0.0


def test_which_action_moves_right_differs_between_cells_and_is_part_of_the_task():
    right = DeepSea(10).right
    assert 0 < right.mean() < 1
    assert (DeepSea(10).right == right).all()
    assert (DeepSea(10, mapping_seed=1).right != right).any()


def test_it_is_a_gymnasium_environment():
    check_env(gym.wrappers.TimeLimit(DeepSea(4), 100).unwrapped, skip_render_check=True)


def test_a_size_of_0_is_refused():
    with pytest.raises(ValueError, match="expected a size of at least 1, got 0"):
        DeepSea(0)
