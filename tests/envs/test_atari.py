"""Atari: both back ends give the same frames, every episode its own seed, and a lost life ends learning alone."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from ale_py.vector_env import AtariVectorEnv
from gymnasium.wrappers import AtariPreprocessing

from qframe.actions import Categorical, make_action_space
from qframe.cli.main import main
from qframe.envs import AtariEnvs, AtariEpisodes
from qframe.exploration import EGreedyModule
from qframe.heads import ScalarHead
from qframe.networks import ConvTrunk, QNet
from qframe.replay import FrameReplayBuffer
from qframe.training import Collector

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
@pytest.mark.parametrize("full", [False, True])
def test_both_back_ends_give_the_same_frames_rewards_and_lives_for_the_same_actions(sticky, full):
    """To the end of a game of Breakout. The wrappers hash a seed before the emulator gets it; no-ops differ."""
    actions = np.random.default_rng(0).integers(0, 18 if full else 4, 2000)
    emulator_seed = int(np.random.SeedSequence(SEED).generate_state(2)[1])
    played = []
    for backend, seed in (("ale_vector", emulator_seed), ("gymnasium", SEED)):
        envs = AtariEnvs(
            "breakout", num_envs=1, backend=backend, num_threads=1, no_ops=0, sticky=sticky, full_action_space=full,
            terminal_on_life_loss=True,
        )  # fmt: skip
        played.append(to_the_end(AtariEpisodes(envs._make(1), lambda env, episode: seed, reports_lives=True), actions))  # noqa: B023
    mine, other = played
    for name in ("frames", "rewards", "terminated", "life_lost"):
        assert np.array_equal(mine[name], other[name]), name
    assert mine["terminated"][-1]
    assert mine["life_lost"].sum() == 4  # of five lives the last is the game's end
    assert mine["frames"].dtype == np.uint8


@pytest.mark.parametrize("backend", ["ale_vector", "gymnasium"])
def test_in_an_evaluation_a_game_without_a_further_episode_rests(monkeypatch, backend):
    """Two games of 10 and 10 steps, then one more for the first: 30 steps are emulated, not 40."""
    envs = AtariEnvs("pong", num_envs=2, backend=backend, no_ops=0, max_episode_frames=40)
    seeds, emulated = iter([1, 2, 3]), []
    kind, method = (AtariVectorEnv, "send") if backend == "ale_vector" else (AtariPreprocessing, "step")
    own = getattr(kind, method)
    monkeypatch.setattr(kind, method, lambda self, action: emulated.append(np.size(action)) or own(self, action))
    episodes = envs.make_seeded(2, lambda env, episode: next(seeds, None))
    episodes.reset()
    steps = [episodes.step(np.array([0, 0])) for _ in range(20)]
    episodes.close()
    assert sum(emulated) == 30
    over = np.stack([step.terminated | step.truncated for step in steps], axis=1)
    assert [np.flatnonzero(row).tolist() for row in over] == [[9, 19], [9]]
    assert all(np.array_equal(step.observation[1], steps[10].observation[1]) for step in steps[10:])


def test_the_games_of_an_evaluation_are_those_of_one_vector_environment():
    envs = AtariEnvs("breakout", num_envs=3, no_ops=30, max_episode_frames=120)
    actions = np.random.default_rng(0).integers(0, 4, (70, 3))
    together = AtariEpisodes(envs._make(3), lambda env, episode: 10 * env + episode, reports_lives=False)
    alone = envs.make_seeded(3, lambda env, episode: 10 * env + episode)
    assert np.array_equal(together.reset().observation, alone.reset().observation)
    for action in actions:
        one, other = together.step(action), alone.step(action)
        for name in ("next_observation", "reward", "terminated", "truncated", "observation"):
            assert np.array_equal(getattr(one, name), getattr(other, name)), name
        assert np.array_equal(together.step_info["lives"], alone.step_info["lives"])
    assert together.episode.tolist() == alone.episode.tolist() == [2, 2, 2]
    together.close()
    alone.close()


def to_the_end(episodes, actions):
    """What a game gives for actions, and then for no action, until it is over."""
    played = {"frames": [episodes.reset().observation], "rewards": [], "terminated": [], "life_lost": []}
    for action in actions:
        step = episodes.step(np.array([action]))
        played["frames"].append(step.next_observation)
        played["rewards"].append(step.reward)
        played["terminated"].append(step.terminated | step.truncated)
        played["life_lost"].append(step.terminated if step.life_lost is None else step.life_lost)
        if played["terminated"][-1]:
            break
    episodes.close()
    return {name: np.concatenate(parts) for name, parts in played.items()}


@pytest.mark.parametrize("backend", ["ale_vector", "gymnasium", "envpool"])
def test_an_episode_begins_after_up_to_30_emulated_frames_without_action(backend):
    """Every first frame is one of those that a game without actions shows in its first 30."""
    waiting = AtariEnvs("seaquest", num_envs=1, num_threads=1, no_ops=0, frame_skip=1, sticky=0.0)
    shown = to_the_end(waiting.make_seeded(1, lambda env, episode: 0), [0] * 31)["frames"][:, -1]
    envs = AtariEnvs("seaquest", num_envs=8, backend=backend, num_threads=1, no_ops=30, sticky=0.0)
    episodes = envs.make(seed=1)
    first = episodes.reset().observation[:, -1]
    episodes.close()
    numbers = [np.flatnonzero((shown == frame).all((1, 2))) for frame in first]
    assert all(len(number) for number in numbers)
    assert len({int(number[0]) for number in numbers}) > 4


def test_envpool_gives_the_frames_of_the_other_back_ends_but_for_an_episodes_first_stack():
    """Both wait one emulated frame. Stacks differ at first: EnvPool repeats the first frame in place of zeros."""
    actions = np.random.default_rng(0).integers(0, 4, 600)
    options = {"num_envs": 1, "num_threads": 1, "no_ops": 1, "sticky": 0.0, "terminal_on_life_loss": True}
    mine = to_the_end(AtariEnvs("breakout", backend="envpool", **options).make(seed=0), actions)
    other = to_the_end(AtariEnvs("breakout", backend="gymnasium", **options).make(seed=0), actions)
    assert np.array_equal(mine["frames"][3:], other["frames"][3:])
    assert np.array_equal(mine["frames"][:, -1], other["frames"][:, -1])
    assert (mine["frames"][0] == mine["frames"][0, 0]).all()
    assert not other["frames"][0, :3].any()
    for name in ("rewards", "terminated", "life_lost"):
        assert np.array_equal(mine[name], other[name]), name
    assert mine["life_lost"].sum() == 4


def test_envpool_gives_transitions_of_episodes_without_seeds():
    """The step after an episode's end only resets: it is no transition, and the count of lives restarts."""
    episodes = AtariEnvs("breakout", num_envs=2, backend="envpool", terminal_on_life_loss=True).make(seed=3)
    assert not episodes.has_episode_seeds
    episodes.reset()
    rng, resets = np.random.default_rng(0), 0
    ended = np.zeros(2, bool)
    for _ in range(500):
        step = episodes.step(rng.integers(0, 4, 2))
        valid = np.ones(2, bool) if step.valid is None else step.valid
        assert np.array_equal(~valid, ended)
        assert not (step.life_lost & ~valid).any()
        ended = step.terminated | step.truncated
        resets += int((~valid).sum())
    assert resets >= 2
    assert episodes.episode.sum() - ended.sum() == resets
    episodes.close()


def test_envpool_starts_other_episodes_for_another_seed():
    envs = AtariEnvs("breakout", num_envs=3, backend="envpool")
    starts = []
    for seed in (1, 1, 2):
        episodes = envs.make(seed)
        episodes.reset()
        starts.append(np.concatenate([episodes.step(np.ones(3, int)).observation for _ in range(20)]))
        episodes.close()
    assert np.array_equal(starts[0], starts[1])
    assert not np.array_equal(starts[0], starts[2])


def test_an_episode_is_determined_by_its_seed():
    """The second episode of one of three games, reset by mask, is that of a single game."""
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


def test_a_lost_life_is_terminal_for_learning_and_the_game_continues():
    envs = AtariEnvs("breakout", num_envs=2, num_threads=1, terminal_on_life_loss=True)
    space = make_action_space(envs.action_space, encoding="auto")
    trunk = ConvTrunk((4, 84, 84), channels=[4], kernels=[8], strides=[8])
    network = QNet(trunk, ScalarHead, action_space=Categorical(4))
    explore = EGreedyModule(space, 1.0, 1.0, 1)
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


def test_wrong_arguments_are_refused():
    with pytest.raises(ValueError, match="there is no Atari game 'pongg'; nearest is 'pong'"):
        AtariEnvs("pongg", num_envs=1)
    with pytest.raises(ValueError, match="'joust' needs two players in the emulator"):
        AtariEnvs("joust", num_envs=1)
    with pytest.raises(ValueError, match="expected backend to be one of ale_vector, gymnasium, envpool, got 'ale'"):
        AtariEnvs("pong", num_envs=1, backend="ale")  # pyright: ignore
    with pytest.raises(ValueError, match="no_ops of at least 1 with backend=envpool, got 0"):
        AtariEnvs("pong", num_envs=1, backend="envpool", no_ops=0)
    with pytest.raises(ValueError, match="backend=gymnasium always takes the maximum of two frames; set max_pool=true"):
        AtariEnvs("pong", num_envs=1, backend="gymnasium", max_pool=False)
    with pytest.raises(ValueError, match="expected frame_skip of at least 1, got 0"):
        AtariEnvs("pong", num_envs=1, frame_skip=0)
    with pytest.raises(ValueError, match=r"sticky in \[0, 1\], got 30 and 2"):
        AtariEnvs("pong", num_envs=1, sticky=2)
    with pytest.raises(ValueError, match="no_ops of at least 0 and below max_episode_frames=108000, .*got 1000000"):
        AtariEnvs("pong", num_envs=1, no_ops=10**6)
    with pytest.raises(ValueError, match="expected size of at most 1024 pixels, got 1000000000; the screen has 210"):
        AtariEnvs("pong", num_envs=1, size=10**9)


def test_without_envpool_the_pip_command_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "envpool", None)
    with pytest.raises(ValueError, match=r'for backend=envpool, is not installed; pip install -e "\.\[envpool\]"'):
        AtariEnvs("pong", num_envs=1, backend="envpool")


def test_the_screen_can_be_rendered_in_colour():
    episodes = AtariEnvs("pong", num_envs=1).make_seeded(1, lambda env, episode: 1, renders=True)
    episodes.reset()
    assert episodes.picture().shape == (210, 160, 3)
    episodes.close()


@pytest.mark.parametrize("backend", ["ale_vector", "envpool"])
def test_pong_trains_from_the_command_line(backend, tmp_path: Path, capsys):
    command = ["train", "experiment=pong_dqn", "total_frames=400", "runner.learning_starts=200", "env.num_envs=4"]
    command += [f"env.backend={backend}"]
    small = ["env.max_episode_frames=400", "replay.capacity=2000", "replay.batch_size=4", "evaluation.final_episodes=1"]
    assert main([*command, *small, "trunk.num_features=16", f"hydra.run.dir={tmp_path}"]) == 0
    shown = capsys.readouterr().out
    assert "the replay takes 3.6 MB (2,000 × 1,784 bytes, 1,764 of observations) in memory" in shown
    assert "eval_return_mean" in shown
