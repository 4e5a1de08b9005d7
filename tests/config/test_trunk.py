"""The trunk that ``trunk=auto`` picks, and the choices that an environment's file brings along."""

import itertools
from functools import partial

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces

from qframe.cli.main import main
from qframe.config import build
from qframe.config.compose import compose
from qframe.config.hydra_app import hydra_app
from qframe.networks.trunks import ConvTrunk, fitting_trunk
from qframe.sweeps.job_spec import composition


class Square(gym.Env):
    """Images of bytes, four channels first."""

    action_space = spaces.Discrete(2)

    def __init__(self, side):
        self.observation_space = spaces.Box(0, 255, (4, side, side), np.uint8)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return np.zeros(self.observation_space.shape, np.uint8), {}

    def step(self, action):
        return np.zeros(self.observation_space.shape, np.uint8), 0.0, False, False, {}


gym.register("qframe-test/Square-v0", Square)


@pytest.mark.parametrize(
    ("space", "option", "changes"),
    [
        (spaces.Box(-1, 1, (4,)), "mlp", {}),
        (spaces.Box(0, 1, (5, 5)), "mlp", {}),
        (spaces.Discrete(16), "mlp", {}),
        (spaces.Dict({"a": spaces.Discrete(3)}), "mlp", {}),
        (spaces.Box(0, 255, (4, 84, 84), np.uint8), "nature", {}),
        (spaces.Box(0, 255, (210, 160, 3), np.uint8), "nature", {"channels_last": True, "strides": [4, 2, 2]}),
        (spaces.Box(0, 255, (3, 240, 320), np.uint8), "nature", {"strides": [4, 4, 2]}),
        (spaces.Box(0, 1, (10, 10, 4), np.bool_), "small_conv", {"channels_last": True}),
        (spaces.Box(0, 1, (4, 4, 16), np.uint8), "small_conv", {"channels_last": True}),
        (spaces.Box(0, 1, (5, 3, 20)), "small_conv", {}),
        (spaces.Box(0, 1, (3, 2, 2)), "mlp", {}),
    ],
)
def test_the_trunk_fits_the_observations(space, option, changes):
    assert fitting_trunk(space)[:2] == (option, changes)


@pytest.mark.parametrize("side", [3, 7, 12, 13, 20, 35, 36, 64, 100, 101, 200])
def test_images_of_every_size_have_a_trunk_whose_features_are_not_too_many(side):
    envs = ["env=gymnasium", "env.id=qframe-test/Square-v0", f"env.kwargs.side={side}"]
    assembly = build.Assembly(compose(envs, provided=build.PROVIDED))
    assert assembly.faults == []
    assert sum(parameter.numel() for parameter in assembly.parts.loss.value_network.parameters()) < 6e6
    assert assembly.picked["trunk"][1].startswith(f"images of {side} × {side} pixels")


def test_images_of_every_shape_have_a_trunk_that_can_be_built():
    trunks = {"nature": ConvTrunk, "small_conv": partial(ConvTrunk, channels=[16], kernels=[3], strides=[1])}
    sides = (1, 2, 3, 4, 6, 7, 12, 13, 16, 35, 36, 100, 101, 180, 181)
    for shape in itertools.product(sides, repeat=3):
        option, changes, _ = fitting_trunk(spaces.Box(0, 1, shape))
        if option != "mlp":
            with torch.device("meta"):
                trunks[option](shape, **changes)


def test_the_picked_trunk_keeps_the_keys_that_are_set_and_refuses_those_of_another():
    assembly = build.Assembly(compose(["trunk.num_cells=[7]"], provided=build.PROVIDED))
    assert assembly.config["trunk"]["num_cells"] == [7]
    assert assembly.config["trunk"]["_target_"] == "qframe.networks.MLPTrunk"
    faults = build.check(compose(["trunk.chanels=[7]"], provided=build.PROVIDED))
    assert [fault.message.split(";")[0] for fault in faults] == ["unknown key of qframe.networks.MLPTrunk"]


def test_an_atari_game_brings_its_choices_which_can_be_overridden(capsys):
    pytest.importorskip("ale_py")
    config = compose(["env=atari"], provided=build.PROVIDED)
    assert config.replay._target_ == "qframe.replay.FrameReplayBuffer"
    assert config.reward.clip == [-1, 1]
    config = compose(["env=atari", "replay=transitions", "reward.clip=null"], provided=build.PROVIDED)
    assert config.replay._target_ == "qframe.replay.ReplayBuffer"
    assert config.reward.clip is None
    assert main(["check", "env=atari"]) == 0
    printed = capsys.readouterr().out
    assert "trunk=nature (images of 84 × 84 pixels)" in printed
    assert "354.0 MB" in printed


def test_a_preset_takes_what_its_environment_brings_unless_it_chooses_itself(tmp_path):
    pytest.importorskip("ale_py")
    (tmp_path / "experiment").mkdir()

    def composed(text, *overrides):
        (tmp_path / "experiment" / "mine.yaml").write_text(f"# @package _global_\n{text}")
        config = compose(["experiment=mine", *overrides], tmp_path, provided=build.PROVIDED)
        return config.replay._target_.rpartition(".")[2], config.reward.clip

    atari = "defaults: [override /env: atari]\n"
    assert composed(atari) == ("FrameReplayBuffer", [-1, 1])
    assert composed(atari, "replay=transitions") == ("ReplayBuffer", [-1, 1])
    assert composed(atari + "reward: {clip: null}\n") == ("FrameReplayBuffer", None)
    assert composed("defaults: [override /env: atari, override /replay: slices]\n") == ("SliceReplayBuffer", [-1, 1])
    assert composed("gamma: 0.9\n", "env=atari") == ("FrameReplayBuffer", [-1, 1])
    assert composed("reward: {clip: [-2, 2]}\n", "env=atari") == ("FrameReplayBuffer", [-2, 2])
    assert composed("gamma: 0.9\n") == ("ReplayBuffer", None)


def test_an_own_environment_brings_its_choices_and_those_of_the_file_that_it_extends(tmp_path):
    (tmp_path / "env").mkdir()
    (tmp_path / "env" / "base.yaml").write_text("defaults: [gymnasium, _self_]\nbrings: {reward.scale: 2, seed: 3}\n")
    (tmp_path / "env" / "mine.yaml").write_text("defaults: [base, _self_]\nid: CartPole-v1\nbrings: {seed: 4}\n")
    config = compose(["env=mine"], tmp_path, provided=build.PROVIDED)
    assert (config.reward.scale, config.seed, "brings" in config.env) == (2, 4, False)
    assert compose(["env=mine", "seed=5"], tmp_path, provided=build.PROVIDED).seed == 5


def test_each_job_of_a_sweep_over_environments_has_what_its_own_brings():
    pytest.importorskip("ale_py")
    with hydra_app() as app:
        jobs = [("env=atari", "seed=1"), ("env=cartpole", "seed=1"), ("env=atari", "reward.clip=null")]
        configs = [composition(app.config_loader, job).config for job in jobs]
    assert [config["reward"]["clip"] for config in configs] == [[-1, 1], None, None]
