"""Environments as streams of true transitions, in all three autoreset modes."""

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from qframe.envs import GymnasiumEnvs, SeededEpisodes, SelfResettingEpisodes, derive_seed


def counters(mode, num_envs=3):
    return SyncVectorEnv([lambda: gym.make("qframe-test/Counter-v0")] * num_envs, autoreset_mode=mode)


def episodes_of(mode):
    envs = counters(mode)
    if mode == AutoresetMode.DISABLED:
        return SeededEpisodes(envs, lambda index, episode: derive_seed(7, index, episode))
    return SelfResettingEpisodes(envs, lambda episodes: derive_seed(7, episodes))


@pytest.mark.parametrize("mode", list(AutoresetMode))
def test_every_reset_mode_yields_exactly_the_transitions_that_happened(mode):
    episodes = episodes_of(mode)
    observation, seen = episodes.reset().observation, 0
    for _ in range(60):
        step = episodes.step(np.zeros(3, np.int64))
        for i in range(3):
            if step.valid is not None and not step.valid[i]:
                continue
            seen += 1
            number, at = observation[i]
            length, by_limit = 3 + int(number) % 4, int(number) % 2 == 0
            over = at + 1 == length
            assert step.next_observation[i].tolist() == [number, at + 1], "the final observation is kept"
            assert step.reward[i] == at + 1
            assert step.terminated[i] == (over and not by_limit)
            assert step.truncated[i] == (over and by_limit)
            if over and mode != AutoresetMode.NEXT_STEP:
                assert step.observation[i][1] == 0, "the next episode starts at its first observation"
        observation = step.observation
    assert seen == (180 if mode != AutoresetMode.NEXT_STEP else seen)
    assert seen > 120
    episodes.close()


def test_an_episode_can_be_replayed_alone_from_its_seed():
    episodes = episodes_of(AutoresetMode.DISABLED)
    first = episodes.reset().observation
    while episodes.episode[1] < 2:
        step = episodes.step(np.zeros(3, np.int64))
    alone = gym.make("qframe-test/Counter-v0")
    assert alone.reset(seed=derive_seed(7, 1, 2))[0].tolist() == step.observation[1].tolist()
    assert alone.reset(seed=derive_seed(7, 0, 0))[0].tolist() == first[0].tolist()


def test_episodes_can_start_at_a_number():
    early, late = episodes_of(AutoresetMode.DISABLED), episodes_of(AutoresetMode.DISABLED)
    early.reset()
    while early.episode[0] < 1:
        step = early.step(np.zeros(3, np.int64))
    late.start_at([1, 1, 1])
    assert late.reset().observation[0].tolist() == step.observation[0].tolist()


def test_a_further_environment_changes_no_other_ones_episodes():
    few, many = counters(AutoresetMode.DISABLED, 2), counters(AutoresetMode.DISABLED, 4)
    first = [SeededEpisodes(envs, lambda i, e: derive_seed(1, i, e)).reset().observation for envs in (few, many)]
    assert first[0].tolist() == first[1][:2].tolist()


def test_the_capability_of_seeded_episodes_is_declared():
    native = GymnasiumEnvs("CartPole-v1", num_envs=2, vectorization="native").make(1)
    sync = GymnasiumEnvs("CartPole-v1", num_envs=2, vectorization="sync").make(1)
    assert (native.has_episode_seeds, sync.has_episode_seeds) == (False, True)


def test_sync_and_async_play_the_same_episodes():
    runs = []
    for vectorization in ("sync", "async"):
        envs = GymnasiumEnvs("CartPole-v1", num_envs=2, vectorization=vectorization).make(3)
        observations = [envs.reset().observation]
        observations += [envs.step(np.array([1, 0])).observation for _ in range(40)]
        runs.append(np.stack(observations))
        envs.close()
    np.testing.assert_array_equal(*runs)


def test_a_vector_environment_that_does_not_declare_how_it_resets_is_refused():
    envs = counters(AutoresetMode.DISABLED)
    with pytest.raises(ValueError, match="must declare autoreset_mode"):
        SelfResettingEpisodes(envs, lambda episodes: 0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"id": "CartPol-v1"}, "registered as 'CartPol-v1'; nearest is 'CartPole-v1'"),
        ({"id": "CartPole-v1", "num_envs": 0}, "num_envs of at least 1, got 0"),
        ({"id": "CartPole-v1", "vectorization": "threads"}, "one of sync, async, native, got 'threads'"),
        ({"id": "CartPole-v1", "kwargs": {"gravity": 1}}, "making CartPole-v1 with kwargs {'gravity': 1} failed"),
        ({"id": "Acrobot-v1", "vectorization": "native"}, "Acrobot-v1 has no vector implementation"),
        ({"id": "math:Acrobot-v1", "vectorization": "native"}, "math:Acrobot-v1 has no vector implementation"),
    ],
)
def test_wrong_arguments_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        GymnasiumEnvs(**({"num_envs": 1, "vectorization": "sync"} | options))


def test_64_bit_observations_become_32_bit_and_bytes_stay_bytes():
    class Wide(gym.Env):
        observation_space = gym.spaces.Box(0, 1, (2,), np.float64)
        action_space = gym.spaces.Discrete(2)

        def reset(self, *, seed=None, options=None):
            return np.zeros(2), {}

    envs = SyncVectorEnv([Wide], autoreset_mode=AutoresetMode.DISABLED)
    assert SeededEpisodes(envs, lambda i, e: 0).reset().observation.dtype == np.float32


@pytest.mark.parametrize(("given", "kept"), [("float16", "float32"), ("float64", "float32"), ("uint8", "uint8")])
def test_floats_become_32_bit_and_other_numbers_stay(given, kept):
    envs = counters(AutoresetMode.DISABLED)
    envs.reset = lambda **options: (np.zeros((3, 2), dtype=given), {})
    assert SeededEpisodes(envs, lambda index, episode: 0).reset().observation.dtype == kept
