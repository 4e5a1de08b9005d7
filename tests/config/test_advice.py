"""Choices that work together but are probably mistakes: ``check`` and every run name them and the remedy."""

import re

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces

from qframe.cli.main import main
from qframe.config import advice
from qframe.config.advice import config_warnings
from qframe.config.build import PROVIDED, Assembly
from qframe.config.compose import compose

PICTURES = ("env=gymnasium", "env.id=qframe-test/Pictures-v0", "replay.capacity=2000", "env.num_envs=1")


class Pictures(gym.Env):
    """Black pictures."""

    def __init__(self, shape, num_actions=2):
        self.action_space = spaces.Discrete(num_actions)
        self.observation_space = spaces.Box(0, 255, tuple(shape), np.uint8)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return self.observation_space.low, {}

    def step(self, action):
        return self.observation_space.low, 0.0, True, False, {}


gym.register("qframe-test/Pictures-v0", Pictures)


def warned(*overrides):
    assembly = Assembly(compose(overrides, provided=PROVIDED)).checked()
    return config_warnings(assembly.parts, assembly.config)


@pytest.mark.parametrize(
    ("shape", "trunk", "start"),
    [
        ("[4,84,84]", "mlp", "an MLP of 3,397,164 parameters sees no neighbourhoods"),
        ("[10,10,4]", "mlp", "an MLP of 58,284 parameters sees no neighbourhoods"),
        ("[96,96]", "auto", "an MLP has 1,116,204 parameters for observations of 96"),
        ("[4,40,40,3]", "auto", "an MLP has 2,314,284 parameters for observations of 4 ×"),
        ("[4096]", "auto", "an MLP has 501,804 parameters for observations of 4096 numbers"),
        ("[4095]", "auto", None),
        ("[4,84,84]", "mlp network.noisy=true exploration=noisy", "an MLP of "),
        ("[4,84,84]", "auto", None),
        ("[10,10,4]", "auto", None),
    ],
)  # fmt: skip
def test_an_mlp_over_pictures_is_named(shape, trunk, start):
    lines = warned(*PICTURES, f"env.kwargs.shape={shape}", *f"trunk={trunk}".split())
    assert len(lines) == (start is not None)
    assert not lines or lines[0].startswith(f"warning: trunk: {start}")


def test_an_environment_without_a_choice_is_named():
    (line,) = warned(*PICTURES, "env.kwargs.shape=[10,10,4]", "env.kwargs.num_actions=1")
    assert line == "warning: env: its action space Discrete(1) leaves no choice, so there is nothing to learn"


def test_a_target_network_beside_rollouts_is_named():
    (line,) = warned("replay=rollout", "estimator=td_lambda")
    assert line.endswith("PQN has none: set target=none loss.delay_value=false")
    assert warned("replay=rollout", "estimator=td_lambda", "target=none", "loss.delay_value=false") == []


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("replay.n_step=3", "returns over several steps are the estimator's: estimator=td_lambda"),
        ("replay.capacity=100", "its size is replay.steps of every environment"),
        ("replay.batch_size=32", "its batches are the rollout divided by replay.minibatches"),
        ("priorities=proportional", "RolloutBuffer takes no priorities; use priorities=none, or another replay"),
        ("replay.minibatches=7", "minibatches do not divide the rollout's 32 sequences"),
        ("replay.slice_length=7", "does not divide the rollout's 64 steps; use a divisor of 64"),
    ],
)
def test_settings_of_replays_that_a_rollout_lacks_are_explained_in_one_line(override, message, capsys):
    assert main(["check", "replay=rollout", "estimator=td_lambda", override]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line


def test_scores_of_atari_games_that_are_not_clipped_are_named():
    pytest.importorskip("ale_py")
    small = ("replay.capacity=2000", "replay.batch_size=8")
    (line,) = warned("env=atari", "reward.clip=null", *small)
    assert line.startswith("warning: reward: points of Atari games range from 1 to thousands")
    (line,) = warned("env=gymnasium", "env.id=ALE/Pong-v5", "env.kwargs.obs_type=ram", *small)
    assert line.endswith("set reward.clip=[-1,1], reward.normalize=true, or head.transform=h")
    for remedy in ("reward.clip=[-1,1]", "reward.normalize=true", "head.transform=h", "reward.scale=0.01"):
        assert warned("env=atari", remedy, *small) == []


def test_frames_that_are_stored_several_times_are_named(monkeypatch):
    monkeypatch.setattr(advice, "LARGE_OBSERVATIONS", 1e6)
    square = (*PICTURES, "env.kwargs.shape=[84,84]")
    for stack, remedy in ((4, ""), (3, " replay.stack=3")):
        wrapper = f"env.wrappers=[{{_target_: gymnasium.wrappers.FrameStackObservation, stack_size: {stack}}}]"
        (line,) = warned(*square, wrapper)
        stored = 2 * 2000 * stack * 84 * 84 / 1e9
        assert f"transitions store every frame {2 * stack} times, in {stored:.2f} GB; " in line
        assert f"use replay=frames{remedy}, which takes 0.01 GB" in line
        assert warned(*square, wrapper, "replay=frames", *remedy.split()) == []
    (line,) = warned(*square, "env.wrappers=[{_target_: qframe.envs.Pixels, size: 42}]")
    assert "store every frame 8 times" in line
    colours = "env.wrappers=[{_target_: qframe.envs.Pixels, grey: false}]"
    (line,) = warned(*PICTURES, "env.kwargs.shape=[84,84,3]", colours)
    assert "store every frame 2 times" in line
    assert "use replay=frames replay.stack=1, which takes" in line
    slices = (*square, wrapper, "replay=slices", "estimator=td_lambda", "trunk=nature")
    (line,) = warned(*slices)
    assert "slices store every frame 3 times, in 0.04 GB; use replay.stack=3, which takes 0.01 GB" in line
    assert warned(*slices, "replay.stack=3") == []


def test_check_and_train_print_them(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    words = [*PICTURES, "env.kwargs.shape=[10,10,4]", "trunk=mlp"]
    assert main(["check", *words]) == 0
    out = capsys.readouterr().out
    assert "use trunk=auto, which is small_conv here\nno faults found, 1 warning\n" in out
    small = ("total_frames=16", "runner.learning_starts=8", "evaluation.final_episodes=1", "evaluation.candidates=1")
    assert main(["train", *words, *small, "logger.tensorboard=false", "runner.every=4"]) == 0
    assert capsys.readouterr().out.count("warning: trunk: an MLP") == 1


def test_messages_in_any_order_are_never_the_same_twice():
    (line,) = warned("collector=ray", "collector.order=arrival", "env.num_envs=2")
    assert "order=arrival takes messages as they come, so no two runs are equal; order=fixed repeats a run" in line
    assert warned("collector=ray", "env.num_envs=2") == []


def test_check_predicts_the_bytes_between_actors_and_learner(capsys):
    assert main(["check", "collector=ray", "env.num_envs=4"]) == 0
    assert re.search(
        r"actors +2 × 2 environments, 1 CPU each; messages of 32 frames, \d+ bytes a frame; at most [\d,]+ frames/s, "
        r"with [\d.,]+ MB/s from the actors and [\d.,]+ MB/s of networks to them",
        capsys.readouterr().out,
    )
