"""Wrappers: put on in order, and the one that breaks an environment is named."""

from functools import partial

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.wrappers import FlattenObservation, FrameStackObservation, NormalizeObservation, TimeLimit

from qframe.envs import ChannelsFirst, GymnasiumEnvs, SymbolicGrid, WeighReward
from qframe.envs.checks import fault_of


class Picture(gym.Env):
    """An image (H, W, C) whose pixels number themselves."""

    observation_space = spaces.Box(0, 255, (2, 3, 4), np.uint8)
    action_space = spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        return np.arange(24, dtype=np.uint8).reshape(2, 3, 4), {}

    def step(self, action):
        return self.reset()[0], 0.0, False, False, {}


class FourResults(gym.Wrapper):
    def step(self, action):
        observation, reward, terminated, _, info = self.env.step(action)
        return observation, reward, terminated, info


class Bare(gym.Wrapper):
    def reset(self, *, seed=None, options=None):
        return self.env.reset(seed=seed)[0]


class Smaller(gym.ObservationWrapper):
    def observation(self, observation):
        return observation[:1]


class Raises(gym.Wrapper):
    def step(self, action):
        raise KeyError("velocity")


def no_env(env):
    return "CartPole"


def cartpole(*wrappers, **options):
    return GymnasiumEnvs("CartPole-v1", num_envs=2, vectorization="sync", wrappers=wrappers, **options)


@pytest.mark.parametrize(
    ("wrapper", "message"),
    [
        (FourResults, "wrapper FourResults: step must return .*, but returned a tuple of 4"),
        (Bare, r"wrapper Bare: reset must return \(observation, info\), but returned ndarray"),
        (Smaller, r"wrapper Smaller: reset must return an observation in Box.*, but returned one of shape \(1,\)"),
        (Raises, r"wrapper Raises: .* failed: KeyError: 'velocity', at .*test_wrappers.py:\d+; correct it in a wra"),
        (no_env, "wrapper no_env must return an environment, but returned str"),
        (FrameStackObservation, "wrapper FrameStackObservation needs values for stack_size; write"),
        (gym.wrappers.TransformObservation, r"for func, .*write \{_target_: TransformObservation, func: …, obs.*: …\}"),
        (partial(FrameStackObservation, stack_size=0), "FrameStackObservation cannot be applied to .*than zero"),
        (ChannelsFirst, r"wrapper ChannelsFirst cannot be applied to .*expected images of shape \(H, W, C\)"),
        (SymbolicGrid, r"wrapper SymbolicGrid cannot be applied to .*expected a grid \(H, W, 3\) of objects"),
        (NormalizeObservation, "keeps statistics of its own.*; set network.normalize_observation=true"),
    ],
)
def test_a_wrapper_that_breaks_the_environment_is_named(wrapper, message):
    with pytest.raises(ValueError, match=message):
        cartpole(partial(TimeLimit, max_episode_steps=9), wrapper)


def test_the_last_wrapper_is_the_outermost():
    envs = cartpole(partial(FrameStackObservation, stack_size=3), FlattenObservation)
    assert envs.observation_space.shape == (12,)
    assert envs.make(0).reset().observation.shape == (2, 12)
    assert envs.protocol["wrappers"] == ["FrameStackObservation(stack_size=3)", "FlattenObservation"]


def test_the_limit_is_that_of_the_environment_in_its_wrappers():
    assert cartpole().protocol["max_episode_steps"] == 500
    assert cartpole(partial(TimeLimit, max_episode_steps=20)).protocol["max_episode_steps"] == 20
    assert cartpole(max_episode_steps=30).protocol["max_episode_steps"] == 30


def test_an_environment_without_a_limit_gets_one_only_in_evaluation():
    envs = GymnasiumEnvs("CliffWalking-v1", num_envs=1, vectorization="sync")
    assert envs.protocol["max_episode_steps"] is None
    evaluated = envs.make_seeded(1, lambda env, episode: 0, max_episode_steps=4)
    evaluated.reset()
    assert [bool(evaluated.step(np.array([0])).truncated[0]) for _ in range(5)] == [False, False, False, True, False]
    limited = cartpole(max_episode_steps=3).make_seeded(1, lambda env, episode: 0, max_episode_steps=2)
    limited.reset()
    assert [bool(limited.step(np.array([0])).truncated[0]) for _ in range(3)] == [False, False, True]


def test_wrappers_do_not_see_the_mask_that_an_observation_holds():
    kwargs = {"convention": "key"}
    envs = GymnasiumEnvs(
        "qframe-test/Legal-v0", num_envs=2, vectorization="sync", kwargs=kwargs, mask_key="legal",
        wrappers=[partial(FrameStackObservation, stack_size=2)],
    )  # fmt: skip
    assert (envs.observation_space.shape, envs.has_masks) == ((2, 2), True)
    episodes = envs.make(0)
    mask = episodes.reset().mask
    assert episodes.step(mask.argmax(-1) + 2).mask.shape == (2, 5)


def test_native_vectorization_refuses_wrappers():
    with pytest.raises(ValueError, match="native does not support wrappers=.'FlattenObservation'."):
        GymnasiumEnvs("CartPole-v1", num_envs=2, vectorization="native", wrappers=[FlattenObservation])


def test_channels_first_moves_the_last_dimension():
    env = ChannelsFirst(Picture())
    assert env.observation_space == spaces.Box(0, 255, (4, 2, 3), np.uint8)
    assert env.reset()[0][:, 0, 0].tolist() == [0, 1, 2, 3]
    assert fault_of(env) is None


def test_a_symbolic_grid_is_one_hot_by_object_colour_and_state():
    envs = GymnasiumEnvs(
        "MiniGrid-DoorKey-5x5-v0", num_envs=1, vectorization="sync", wrappers=[SymbolicGrid]
    )
    raw = gym.make("MiniGrid-DoorKey-5x5-v0").reset(seed=3)[0]["image"]
    grid = envs.make_seeded(1, lambda env, episode: 3).reset().observation[0]
    assert (grid.shape, grid.dtype) == ((21, 7, 7), np.bool_)
    np.testing.assert_array_equal(grid[:11].argmax(0), raw[..., 0])
    np.testing.assert_array_equal(grid[11:17].argmax(0), raw[..., 1])
    np.testing.assert_array_equal(grid[17:].argmax(0), raw[..., 2])
    assert (grid.sum(0) == 3).all()


def test_several_rewards_are_weighed_to_one():
    class Two(gym.Env):
        observation_space = action_space = spaces.Discrete(2)

        def step(self, action):
            return 0, [3, 0.5], False, False, {}

    assert WeighReward(Two(), weights=[1, -2]).step(0)[1] == 2.0
    with pytest.raises(ValueError, match=r"weights for rewards of shape \(2,\), got \[1.0\]"):
        WeighReward(Two(), weights=[1]).step(0)
