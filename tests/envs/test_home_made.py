"""Environments of one's own: anything that Gymnasium allows works, and anything else is reported."""

from functools import partial
from multiprocessing import active_children

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.envs.registration import register
from gymnasium.wrappers import FrameStackObservation

from qframe.envs import GymnasiumEnvs
from qframe.envs.protocol import FaultyEnvironment


class Base(gym.Env):
    """Ends after as many steps as its seed's first draw, from 3 to 6; ``given`` are the options of its resets."""

    observation_space = spaces.Box(-1, 1, (3,), np.float32)
    action_space: spaces.Space = spaces.Discrete(3)
    made = 0

    def __init__(self):
        type(self).made += 1
        self.given = []

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.given.append(options)
        self.left, self.steps = int(self.np_random.integers(3, 7)), 0
        return self.look(), self.info()

    def step(self, action):
        self.left, self.steps = self.left - 1, self.steps + 1
        return self.look(), 1.0, self.left == 0, False, self.info()

    def look(self):
        return np.full(3, self.steps / 10, np.float32)

    def info(self):
        return {}


class GrowingInfo(Base):
    def info(self):
        return {"path": np.arange(self.steps + 1)}


class EmptyInfo(Base):
    def info(self):
        return {"lap": None if self.steps % 2 else 3}


class WordInfo(Base):
    def info(self):
        return {"limit": "none" if self.steps % 2 else 3}


class NestedInfo(Base):
    def info(self):
        return {"crash": {"x": 1.0} if self.left % 2 else None}


class Bytes(Base):
    observation_space = spaces.Box(-128, 127, (1,), np.int8)

    def look(self):
        return np.array([self.steps * 60])  # 64 bits


class Switches(Base):
    observation_space = spaces.MultiBinary(2)

    def look(self):
        return np.array([1, self.steps], np.int8)


class Numbered(Base):
    observation_space = spaces.Dict({1: spaces.Box(-1, 1, (3,)), 0: spaces.Discrete(3)})

    def look(self):
        return {0: 1, 1: super().look()}


class Unlike(Base):
    def __init__(self):
        super().__init__()
        self.observation_space = spaces.Box(-1, self.made, (3,), np.float32)


class OwnLimit(Base):
    def __init__(self, max_episode_steps=7):
        super().__init__()
        self.limit = max_episode_steps


class Greedy(Base):
    """Changes the action that it is given."""

    action_space = spaces.MultiDiscrete([3, 3])

    def step(self, action):
        action -= 1
        return super().step(action)


class OneArray(Base):
    """Gives the same array at every step."""

    seen = np.zeros(3, np.float32)

    def look(self):
        self.seen[:] = self.steps
        return self.seen


class ClosesBadly(Base):
    def close(self):
        raise RuntimeError("server already gone")


class Grid(Base):
    observation_space = spaces.Box(0, 100, (3,), np.float32)


register("HomeMadeGrid-v0", entry_point=Grid, vector_entry_point=lambda **_: None)


def envs_of(kind, num_envs=2, vectorization="sync", **options):
    kind.made = 0
    return GymnasiumEnvs(f"{__name__}.{kind.__name__}", num_envs=num_envs, vectorization=vectorization, **options)


def played(envs, steps=12):
    """The rewards of the first steps."""
    episodes = envs.make(0)
    try:
        episodes.reset()
        sample = envs.action_space.sample()
        return sum(float(episodes.step(np.array([sample] * envs.num_envs)).reward.sum()) for _ in range(steps))
    finally:
        episodes.close()


@pytest.mark.parametrize("kind", [GrowingInfo, EmptyInfo, WordInfo, NestedInfo])
@pytest.mark.parametrize("vectorization", ["sync", "async"])
def test_unread_infos_may_hold_anything(kind, vectorization):
    assert played(envs_of(kind, vectorization=vectorization)) == 24.0


def test_integers_that_their_type_cannot_hold_are_refused():
    with pytest.raises(FaultyEnvironment, match=r"in Box.*int8.*, but returned one with 180, which int8 cannot hold"):
        played(envs_of(Bytes))


def test_bits_are_zero_or_one():
    with pytest.raises(FaultyEnvironment, match=r"environment 0: .* not in MultiBinary\(2\): \[1, 2\]"):
        played(envs_of(Switches))


def test_keys_of_observations_are_strings():
    with pytest.raises(ValueError, match="keys of a Dict observation must be strings, but one is .; use '.'"):
        envs_of(Numbered)


@pytest.mark.parametrize("vectorization", ["sync", "async"])
def test_copies_with_other_spaces_are_refused(vectorization):
    with pytest.raises(ValueError, match="its copies must all have the same spaces"):
        envs_of(Unlike, vectorization=vectorization).make(0)


class Licensed(Base):
    """At most a few may run at once."""

    def __init__(self):
        super().__init__()
        if self.made > 3:
            raise OSError(98, "Address already in use")


@pytest.mark.parametrize("num_envs", [2, 4, 5])
def test_an_environment_that_cannot_be_made_in_its_process_leaves_no_process(num_envs, capfd, monkeypatch):
    choice = envs_of(Licensed, num_envs=num_envs, vectorization="async")
    monkeypatch.setattr(Licensed, "made", 2)  # one here for its spaces, and then one in each process is one too many
    with pytest.raises(FaultyEnvironment, match=rf"one of {num_envs} environments could not be made in its process"):
        choice.make(0)
    assert "an environment's process failed: making" in (message := capfd.readouterr().err)
    assert "OSError: [Errno 98] Address already in use" in message
    assert "Traceback" not in message
    assert not active_children()


def test_a_constructors_own_limit_is_not_the_limit_of_episodes():
    envs = envs_of(OwnLimit, kwargs={"max_episode_steps": 50}, max_episode_steps=2)
    episodes = envs.make(0)
    assert [one.unwrapped.limit for one in episodes._envs.envs] == [50, 50]
    assert envs.protocol["max_episode_steps"] == 2
    assert envs.protocol["kwargs"] == {"max_episode_steps": 50}
    episodes.reset()
    action = np.zeros(2, np.int64)
    assert [episodes.step(action).truncated.tolist() for _ in range(2)] == [[False, False], [True, True]]


def test_a_limit_that_the_constructor_does_not_take_names_the_key_that_limits_episodes():
    with pytest.raises(ValueError, match=r"unexpected keyword .*; to limit episodes, set env.max_episode_steps"):
        GymnasiumEnvs("CartPole-v1", num_envs=1, vectorization="sync", kwargs={"max_episode_steps": 50})


def test_an_environment_cannot_change_the_action_that_is_stored():
    episodes = envs_of(Greedy).make(0)
    episodes.reset()
    action = np.array([[2, 1], [0, 2]])
    episodes.step(action)
    assert action.tolist() == [[2, 1], [0, 2]]
    assert episodes.played()["actions"][-1].tolist() == [[2, 1], [0, 2]]


def test_frames_in_a_stack_differ_although_the_environment_reuses_one_array():
    episodes = envs_of(OneArray, 1, wrappers=[partial(FrameStackObservation, stack_size=3)]).make(0)
    episodes.reset()
    action = np.zeros(1, np.int64)
    seen = [episodes.step(action).next_observation[0, :, 0].tolist() for _ in range(2)]
    assert seen == [[0.0, 0.0, 1.0], [0.0, 1.0, 2.0]]


@pytest.mark.parametrize("vectorization", ["sync", "async"])
def test_a_failure_to_close_is_ignored(vectorization):
    assert played(envs_of(ClosesBadly, vectorization=vectorization)) == 24.0


def test_a_reset_has_no_options():
    episodes = envs_of(Base).make(0)
    episodes.reset()
    for _ in range(7):
        episodes.step(np.zeros(2, np.int64))
    given = [options for one in episodes._envs.envs for options in one.unwrapped.given]
    assert len(given) > 2
    assert set(given) == {None}


def test_native_vectorization_refuses_to_rescale():
    with pytest.raises(ValueError, match="vectorization=native does not support rescale_observation=True"):
        GymnasiumEnvs("HomeMadeGrid-v0", num_envs=1, vectorization="native", rescale_observation=True)
