"""Memory tasks: what is shown when, and what known policies get."""

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from qframe.envs import MaskVelocity, MemoryChain, TMaze

RIGHT, UP, LEFT, DOWN = range(4)


def played(env, choose, seed=0):
    """Observations, rewards and last infos of an episode; ``choose`` gets the step and the first observation."""
    observation, info = env.reset(seed=seed)
    seen, rewards, over = [observation], [], False
    while not over:
        observation, reward, over, truncated, info = env.step(choose(len(rewards), seen[0]))
        assert not truncated
        seen.append(observation)
        rewards.append(reward)
    return np.array(seen), rewards, info


def always(action):
    return lambda step, first: action


def towards(first):
    return UP if first[2] == 1 else DOWN


def test_a_memory_finds_the_goal_of_a_t_maze_whichever_it_is():
    goals = set()
    for seed in range(8):
        seen, rewards, info = played(TMaze(4), lambda step, first: RIGHT if step < 4 else towards(first), seed)
        goals.add(seen[0, 2])
        assert rewards == [0.0] * 4 + [1.0]
        assert info == {"is_success": True}
        assert seen[1:5].tolist() == [[0, 0, 0]] * 3 + [[1, 0, 0]]
        assert seen[5].tolist() == [1, seen[0, 2], 0]
    assert goals == {-1.0, 1.0}


def test_a_t_maze_costs_each_step_behind_the_pace_and_ends_after_its_steps():
    _, rewards, info = played(TMaze(4), lambda step, first: LEFT)
    assert rewards == [-0.25] * 4 + [0.0]
    assert info == {"is_success": False}
    _, rewards, _ = played(TMaze(4), lambda step, first: (UP, RIGHT, RIGHT, RIGHT, RIGHT)[step])
    assert rewards == [-0.25] * 4 + [0.0]  # walls everywhere but at the junction, which is reached too late


def test_a_wrong_turn_is_worth_nothing():
    wrong = {UP: DOWN, DOWN: UP}
    _, rewards, info = played(TMaze(1), lambda step, first: RIGHT if step < 1 else wrong[towards(first)])
    assert rewards == [0.0, 0.0]
    assert info == {"is_success": False}


def test_a_memory_chain_shows_its_bits_first_and_asks_last():
    asked = set()
    for seed in range(12):
        env = MemoryChain(4, bits=3)
        bits = env.reset(seed=seed)[0][2:]
        query = int(played(env, always(0), seed)[0][4, 1])
        asked.add(query)
        seen, rewards, info = played(env, always(int(bits[query] == 1)), seed)
        assert seen[:, 0].tolist() == [1, 1, 0.75, 0.5, 0.25, 0]
        assert (seen[:2, 2:] == bits).all()
        assert (seen[2:, 2:] == 0).all()
        assert seen[:, 1].tolist() == [0, 0, 0, 0, query, 0]
        assert rewards == [0.0] * 4 + [1.0]
        assert info == {"is_success": True}
        assert played(env, always(int(bits[query] != 1)), seed)[1] == [0.0] * 4 + [-1.0]
    assert asked == {0, 1, 2}


@pytest.mark.parametrize("env", [TMaze(3), MemoryChain(3, bits=4)])
def test_they_are_gymnasium_environments(env):
    check_env(env, skip_render_check=True)


@pytest.mark.parametrize(("make", "message"), [
    (lambda: TMaze(0), "expected a length of at least 1, got 0"),
    (lambda: MemoryChain(1), "expected a length of at least 2 and at least 1 bit, got length=1 and bits=1"),
    (lambda: MemoryChain(5, bits=0), "got length=5 and bits=0"),
    (lambda: MaskVelocity(TMaze()), "the velocities of TMaze are not known; name their places"),
    (lambda: MaskVelocity(gym.make("CartPole-v1"), velocities=[4]), "expected places from 0 to 3, got 4"),
    (lambda: MaskVelocity(gym.make("Taxi-v4")), "expected observations of one dimension, got Discrete"),
])  # fmt: skip
def test_what_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize(("id", "places"), [
    ("CartPole-v1", [1, 3]), ("Acrobot-v1", [4, 5]), ("MountainCar-v0", [1]), ("Pendulum-v1", [2]),
])  # fmt: skip
def test_velocities_are_masked_and_nothing_else(id, places):
    env, whole = MaskVelocity(gym.make(id)), gym.make(id)
    env.reset(seed=1)
    whole.reset(seed=1)
    action = whole.action_space.sample()
    masked, complete = env.step(action)[0], whole.step(action)[0]
    rest = [place for place in range(len(complete)) if place not in places]
    assert (masked[places] == 0).all()
    assert (complete[places] != 0).all()
    assert (masked[rest] == complete[rest]).all()
    assert masked in env.observation_space
