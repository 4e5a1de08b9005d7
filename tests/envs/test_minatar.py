"""MinAtar: the games of the package, episodes that are their seeds alone, and training from the command line."""

import json

import numpy as np
import pytest

from qframe.cli.main import main
from qframe.envs import MinAtarEnvs
from qframe.envs.minatar import GAMES, MinAtarGame


def play(game, seed, actions):
    """Observations, rewards and the end of an episode."""
    observations, rewards = [game.reset(seed=seed)[0]], []
    for action in actions:
        observation, reward, is_over, _, _ = game.step(action)
        observations.append(observation)
        rewards.append(reward)
        if is_over:
            break
    return np.stack(observations), rewards


@pytest.mark.parametrize("name", GAMES)
@pytest.mark.parametrize("is_full", [True, False])
def test_a_game_equals_the_packages_with_channels_first(name, is_full):
    from minatar.gym import BaseEnv

    theirs = BaseEnv(name, use_minimal_action_set=not is_full)
    ours = MinAtarGame(name, sticky=0.1, full_action_space=is_full, ramping=True)
    assert ours.action_space == theirs.action_space
    actions = np.random.default_rng(0).integers(0, ours.action_space.n, 400)
    (mine, rewards), (other, other_rewards) = play(ours, 5, actions), play(theirs, 5, actions)
    assert np.array_equal(mine, other.transpose(0, 3, 1, 2))
    assert rewards == other_rewards
    assert (mine.dtype, mine.shape[1:]) == (np.bool_, ours.observation_space.shape)


@pytest.mark.parametrize("name", GAMES)
def test_an_episode_depends_on_its_seed_and_actions_alone(name):
    """The package carries the last action over, which a sticky first step would then repeat."""
    used, fresh = (MinAtarGame(name, sticky=0.5, full_action_space=True, ramping=True) for _ in range(2))
    actions = np.random.default_rng(1).integers(1, 6, 300)
    for seed in range(6):
        (mine, rewards), (other, other_rewards) = play(used, seed, actions), play(fresh, seed, actions)
        assert np.array_equal(mine, other)
        assert rewards == other_rewards
        fresh = MinAtarGame(name, sticky=0.5, full_action_space=True, ramping=True)


def test_games_side_by_side_play_the_episodes_of_their_seeds():
    episodes = MinAtarEnvs("breakout", num_envs=3).make(seed=4)
    rng, observation = np.random.default_rng(2), episodes.reset().observation
    while episodes.episode[1] < 2:
        step = episodes.step(rng.integers(0, 6, 3))
        observation = step.observation
    alone = MinAtarGame("breakout", sticky=0.1, full_action_space=True, ramping=True)
    assert np.array_equal(alone.reset(seed=episodes._seed_of(1, 2))[0], observation[1])
    assert episodes.has_episode_seeds


def test_the_paddle_and_the_ball_are_where_a_game_of_breakout_begins():
    """Channels: paddle, ball, trail, brick; the ball starts at either side of row 3, over the bricks."""
    observation = MinAtarEnvs("Breakout", num_envs=1).make(seed=0).reset().observation[0]
    assert np.argwhere(observation[0]).tolist() == [[9, 4]]
    assert np.argwhere(observation[1]).tolist() in ([[3, 0]], [[3, 9]])
    assert observation[3].sum(1).tolist() == [0, 10, 10, 10, 0, 0, 0, 0, 0, 0]


def test_a_limit_truncates_and_evaluation_sets_one_if_there_is_none():
    steps = MinAtarEnvs("freeway", num_envs=1, max_episode_steps=3).make(0)
    steps.reset()
    assert [bool(steps.step(np.array([0])).truncated[0]) for _ in range(6)] == [False, False, True] * 2
    evaluated = MinAtarEnvs("freeway", num_envs=1).make_seeded(1, lambda env, episode: 1, max_episode_steps=2)
    evaluated.reset()
    assert [bool(evaluated.step(np.array([0])).truncated[0]) for _ in range(2)] == [False, True]


def test_a_picture_shows_the_cells_in_colours():
    game = MinAtarGame("breakout", sticky=0, full_action_space=True, ramping=True, render_mode="rgb_array")
    game.reset(seed=0)
    picture = game.render()
    assert (picture.shape, picture.dtype) == ((160, 160, 3), np.uint8)
    assert picture[0, 0].tolist() == [0, 0, 0]
    assert len(np.unique(picture[16:64].reshape(-1, 3), axis=0)) <= 2  # bricks, and the ball before the first of them


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"game": "breakou"}, "no MinAtar game 'breakou'; nearest is 'breakout'"),
        ({"game": "pong"}, r"no MinAtar game 'pong'; valid: asterix, breakout, freeway, seaquest, space_invaders"),
        ({"game": "breakout", "num_envs": 0}, "num_envs and max_episode_steps of at least 1, got 0 and None"),
        ({"game": "breakout", "sticky": 1.5}, r"sticky in \[0, 1\], got 1.5"),
    ],
)
def test_wrong_arguments_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        MinAtarEnvs(**({"num_envs": 1} | options))


def test_a_missing_package_is_named_with_its_pip_command(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "minatar.environments.breakout", None)
    with pytest.raises(ValueError, match=r'the package minatar, .* pip install -e ".*\[minatar\]"'):
        MinAtarEnvs("breakout", num_envs=1)


def test_breakout_trains_from_the_command_line(tmp_path, capsys):
    words = ["env=minatar", "env.game=breakout", "trunk=small_conv", "total_frames=600", "runner.every=32"]
    sizes = ["runner.learning_starts=200", "evaluation.final_episodes=2", f"hydra.run.dir={tmp_path}"]
    assert main(["train", *words, *sizes]) == 0, capsys.readouterr().err
    assert json.loads((tmp_path / "summary.json").read_text())["status"] == "finished"
