"""Running episodes played again from their seeds and actions."""

import numpy as np
import pytest

from qframe.envs import GymnasiumEnvs
from qframe.envs import episodes as module


def played_on(episodes, actions):
    start, totals = episodes.reset(), np.zeros(episodes.num_envs)
    for action in actions:
        step = episodes.step(action)
        totals = np.where(step.terminated | step.truncated, 0.0, totals + step.reward)
        start = step
    return start, totals


@pytest.mark.parametrize(("vectorization", "room"), [("sync", 1024), ("sync", 1), ("async", 1024)])
@pytest.mark.parametrize("steps", [0, 1, 7, 60])
def test_a_replay_reaches_the_same_state_and_continues_alike(vectorization, room, steps, monkeypatch):
    monkeypatch.setattr(module, "SHORTEST_ROOM", room)
    envs = GymnasiumEnvs("CartPole-v1", num_envs=3, vectorization=vectorization)
    rng = np.random.default_rng(3)
    actions, more = rng.integers(2, size=(steps, 3)), rng.integers(2, size=(80, 3))
    first, second = envs.make(seed=5), envs.make(seed=5)
    state, totals = played_on(first, actions)
    found = second.replay(first.played())
    assert found is not None
    np.testing.assert_array_equal(found[0].observation, state.observation)
    np.testing.assert_array_equal(found[1], totals)
    assert second.episode.tolist() == first.episode.tolist()
    for action in more:
        one, other = first.step(action), second.step(action)
        np.testing.assert_array_equal(one.observation, other.observation)
        np.testing.assert_array_equal(one.terminated, other.terminated)
    assert first.played()["length"] == second.played()["length"]
    np.testing.assert_array_equal(first.played()["actions"], second.played()["actions"])
    longest = max(first.played()["length"])
    np.testing.assert_array_equal(first.played()["actions"], [*actions, *more][-longest:] if longest else actions[:0])
    first.close(), second.close()


def test_only_the_actions_of_running_episodes_are_kept():
    episodes = GymnasiumEnvs("CartPole-v1", num_envs=2, vectorization="sync").make(seed=0)
    played_on(episodes, np.ones((500, 2), np.int64))  # one action for ever: episodes of about 10 steps
    played = episodes.played()
    assert len(played["actions"]) == max(played["length"]) <= 11
    assert episodes.episode.min() > 40
    episodes.close()


def test_an_episode_that_is_too_long_is_not_replayed(monkeypatch):
    monkeypatch.setattr(module, "LONGEST_REPLAY", 20)
    monkeypatch.setattr(module, "SHORTEST_ROOM", 5)
    episodes = GymnasiumEnvs("MountainCar-v0", num_envs=1, vectorization="sync").make(seed=0)
    episodes.reset()
    for _ in range(199):
        episodes.step(np.array([1]))
    assert not episodes.can_replay
    assert len(episodes._actions) <= 41
    episodes.step(np.array([1]))  # the 200th step ends the episode
    assert episodes.can_replay
    episodes.close()


def test_episodes_that_end_during_a_replay_came_out_differently():
    envs = GymnasiumEnvs("CartPole-v1", num_envs=2, vectorization="sync").make(seed=0)
    played = {"episode": [0, 0], "length": [50, 50], "actions": np.ones((50, 2), np.int64)}
    assert envs.replay(played) is None
    envs.close()


def test_environments_that_share_a_generator_cannot_replay():
    episodes = GymnasiumEnvs("CartPole-v1", num_envs=2, vectorization="native").make(seed=0)
    assert not episodes.can_replay
    assert not episodes.has_episode_seeds
    episodes.close()
