"""Environments in processes that die or hang: started again, their episode truncated, counted, up to a limit."""

import os
import time

import gymnasium as gym
import numpy as np
import pytest

from qframe.cli.main import main
from qframe.envs import GymnasiumEnvs
from qframe.envs.protocol import FaultyEnvironment


class Mortal(gym.Env):
    """Counts its steps; from the second on, action 1 ends the process and action 2 hangs."""

    observation_space = gym.spaces.Box(0.0, 1e6, (1,), np.float32)
    action_space = gym.spaces.Discrete(3)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self._at, self._steps = float(seed % 1000), 0
        return np.array([self._at], np.float32), {}

    def step(self, action):
        if action == 1 and self._steps:
            os._exit(1)
        if action == 2 and self._steps:
            time.sleep(60)
        self._at += 1
        self._steps += 1
        return np.array([self._at], np.float32), 1.0, False, self._steps == 7, {}


@pytest.fixture(autouse=True)
def registered():
    gym.register("qframe-test/Mortal-v0", Mortal)
    yield
    del gym.registry["qframe-test/Mortal-v0"]


def make(timeout: float | None = 20.0, max_restarts=10):
    envs = GymnasiumEnvs(
        "qframe-test/Mortal-v0", num_envs=3, vectorization="async", timeout=timeout, max_restarts=max_restarts
    )
    episodes = envs.make(seed=1)
    episodes.reset()
    return episodes, episodes.step(np.zeros(3, np.int64)).next_observation


def test_a_process_that_dies_is_restarted_with_its_next_episode_and_the_others_continue():
    (episodes, before), (undisturbed, same) = make(), make()
    assert (before == same).all()
    step, expected = episodes.step(np.array([0, 1, 0])), undisturbed.step(np.array([0, 0, 0]))
    assert step.reward.tolist() == [1.0, 0.0, 1.0]
    assert step.truncated[1]
    assert not step.terminated.any()
    assert step.next_observation[1] == before[1]
    assert (step.next_observation[[0, 2]] == expected.next_observation[[0, 2]]).all()
    assert episodes.episode[1] == 1
    first = episodes._seed_of(1, 1) % 1000
    assert step.observation[1] == first
    assert episodes.step(np.array([0, 0, 0])).next_observation[1] == first + 1
    assert episodes._envs.restarts == 1
    episodes.close()
    undisturbed.close()


def test_a_process_that_hangs_is_restarted_until_the_limit():
    episodes, _ = make(timeout=3.0, max_restarts=1)
    assert episodes.step(np.array([2, 0, 0])).truncated[0]
    with pytest.raises(FaultyEnvironment, match="environment 2: its process ended, after 1 restarts; fix the env"):
        episodes.step(np.array([0, 0, 1]))
    episodes.close()


def test_a_process_that_dies_without_a_timeout_is_an_error():
    episodes, _ = make(timeout=None)
    with pytest.raises(FaultyEnvironment, match="environment 1: its process ended; to restart such processes"):
        episodes.step(np.array([0, 1, 0]))
    episodes.close()


def test_a_process_that_dies_in_evaluation_ends_only_its_episode():
    """In the training process it would end the run."""
    envs = GymnasiumEnvs("qframe-test/Mortal-v0", num_envs=1, vectorization="async", timeout=20.0)
    episodes = envs.make_seeded(2, lambda index, episode: 10 * index + episode)
    assert episodes.reset().observation.tolist() == [[0], [10]]
    episodes.step(np.array([0, 0]))
    step = episodes.step(np.array([0, 1]))
    assert (step.truncated.tolist(), step.observation.tolist()) == ([False, True], [[2], [11]])
    assert episodes.faults() == {"restarts": 1, "skipped": 0}
    episodes.close()


def test_a_timeout_needs_processes(capsys):
    assert main(["check", "env.timeout=3"]) == 2
    assert "expected timeout above 0 with vectorization=async, got 3.0 with sync" in capsys.readouterr().err
    assert main(["check", "env.max_restarts=-1"]) == 2
    assert "expected max_restarts of at least 0, got -1" in capsys.readouterr().err
