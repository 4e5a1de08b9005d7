"""Atari: both back ends give the same frames, every episode its own seed, and a lost life ends learning alone."""

from pathlib import Path

import numpy as np
import pytest
import torch

from qframe.cli.main import main
from qframe.data import Categorical, FrameReplayBuffer, make_action_space
from qframe.envs import AtariEnvs
from qframe.modules import ConvTrunk, EGreedyModule, QNet, ScalarHead
from qframe.runner import Collector

SEED = next(i for i in range(100) if np.random.SeedSequence(i).generate_state(2)[1] < 2**31)


def play(envs, seed_of, actions):
    episodes = envs.make_seeded(1, seed_of)
    frames, rewards, ends = [episodes.reset().observation], [], []
    for action in actions:
        step = episodes.step(np.array([action]))
        frames.append(step.next_observation)
        rewards.append(float(step.reward[0]))
        ends.append(bool(step.terminated[0]))
        if ends[-1]:
            break
    episodes.close()
    return np.concatenate(frames), rewards, ends


@pytest.mark.parametrize("sticky", [0.0, 0.25])
def test_both_back_ends_give_the_same_frames_and_rewards_for_the_same_actions(sticky):
    """To the end of a game of Breakout. The wrappers hash a seed before the emulator gets it; no-ops differ."""
    actions = np.random.default_rng(0).integers(0, 4, 2000)
    emulator_seed = int(np.random.SeedSequence(SEED).generate_state(2)[1])
    played = [
        play(AtariEnvs("breakout", num_envs=1, backend=backend, num_threads=1, no_ops=0, sticky=sticky),
             lambda env, episode, seed=seed: seed, actions)
        for backend, seed in (("ale_vector", emulator_seed), ("gymnasium", SEED))
    ]  # fmt: skip
    (frames, rewards, ends), (other_frames, other_rewards, other_ends) = played
    assert ends[-1]
    assert ends == other_ends
    assert rewards == other_rewards
    assert np.array_equal(frames, other_frames)
    assert sum(rewards) >= 0
    assert frames.dtype == np.uint8


def test_an_episode_is_its_seed_alone():
    """The second episode of one of three games, reset by mask amid the others, is that of a single game."""
    envs = AtariEnvs("breakout", num_envs=3, num_threads=1)
    episodes, rng = envs.make(seed=7), np.random.default_rng(1)
    episodes.reset()
    while not (episodes.episode == 1).any():
        step = episodes.step(rng.integers(0, 4, 3))
    index = int(np.flatnonzero(episodes.episode == 1)[0])
    actions = rng.integers(0, 4, (200, 3))
    frames, _, ends = play(envs, lambda env, episode: episodes._seed_of(index, 1), actions[:, index])
    assert np.array_equal(frames[0], step.observation[index])
    for number in range(len(ends)):
        step = episodes.step(actions[number])
        assert np.array_equal(frames[number + 1], step.next_observation[index])
    episodes.close()


def test_a_lost_life_ends_what_is_learnt_from_and_the_game_goes_on():
    envs = AtariEnvs("breakout", num_envs=2, num_threads=1, terminal_on_life_loss=True)
    space = make_action_space(envs.action_space, encoding="auto")
    network = QNet(ConvTrunk((4, 84, 84), channels=[4], kernels=[8], strides=[8]), ScalarHead, spec=Categorical(4))
    explore = EGreedyModule(space.spec, 1.0, 1.0, 1)
    collector = Collector(
        envs.make(0), network, exploration=explore, action_space=space, device=torch.device("cpu")
    )
    replay, ends = FrameReplayBuffer(4000, 8, gamma=0.9, n_step=3, num_envs=2, stack=4), 0
    while not collector.statistics.returns:
        transitions = collector.collect()
        replay.extend(transitions)
        ends += int(transitions["next", "terminated"].sum())
    assert ends >= 5  # five lives, the last with the game
    assert len(collector.statistics.returns) == 1
    assert replay.sample()["observation"].dtype is torch.uint8
    collector.envs.close()


def test_evaluation_plays_through_lost_lives():
    episodes = AtariEnvs("breakout", num_envs=1, terminal_on_life_loss=True).make_seeded(1, lambda env, episode: 3)
    episodes.reset()
    assert all(episodes.step(np.array([1])).life_lost is None for _ in range(5))
    episodes.close()


def test_faults_are_told():
    with pytest.raises(ValueError, match="such as pong, got 'pongg'; the nearest is pong"):
        AtariEnvs("pongg", num_envs=1)
    with pytest.raises(ValueError, match="expected backend to be one of ale_vector, gymnasium, got 'envpool'"):
        AtariEnvs("pong", num_envs=1, backend="envpool")  # pyright: ignore
    with pytest.raises(ValueError, match="expected frame_skip of at least 1, got 0"):
        AtariEnvs("pong", num_envs=1, frame_skip=0)
    with pytest.raises(ValueError, match=r"sticky in \[0, 1\], got 30 and 2"):
        AtariEnvs("pong", num_envs=1, sticky=2)


def test_pong_trains_from_the_command_line(tmp_path: Path, capsys):
    command = ["train", "experiment=pong_dqn", "total_frames=400", "runner.learning_starts=200", "env.num_envs=4"]
    small = ["env.max_episode_frames=400", "replay.capacity=2000", "replay.batch_size=4", "evaluation.final_episodes=1"]
    assert main([*command, *small, "network.trunk.num_features=16", f"hydra.run.dir={tmp_path}"]) == 0
    shown = capsys.readouterr().out
    assert "the replay takes 14.1 MB of observations (2,000 × 7,056 bytes) in memory" in shown
    assert "eval_return_mean" in shown
