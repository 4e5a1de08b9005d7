"""One function of the space decides the scale of bytes: alone as in a Dict, in MLPs as in convolutions."""

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces
from torch import nn

from qframe.config import build
from qframe.config.compose import compose
from qframe.envs.observations import as_tensors

SPACES = {
    "ram": spaces.Box(0, 255, (8,), np.uint8),
    "bits": spaces.Box(0, 1, (8,), np.uint8),
    "grid": spaces.Box(0, 1, (5, 5, 1), np.uint8),
    "image": spaces.Box(0, 255, (5, 5, 1), np.uint8),
    "grey": spaces.Box(0, 255, (5, 5), np.uint8),
}


class Shows(gym.Env):
    """Shows the largest value of its space, alone or as an entry of a Dict."""

    action_space = spaces.Discrete(2)

    def __init__(self, space, is_entry):
        alone = SPACES[space]
        self.observation_space = spaces.Dict({"it": alone, "one": spaces.Box(0, 1, (1,))}) if is_entry else alone
        self._highest = {"it": alone.high, "one": np.ones(1, np.float32)} if is_entry else alone.high

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return self._highest, {}

    def step(self, action):
        return self._highest, 0.0, False, True, {}


gym.register("qframe-test/Shows-v0", Shows)


def first_input(space, *, is_entry, overrides=()):
    """The largest number that reaches the first layer with weights."""
    kwargs = [f"env.kwargs.space={space}", f"env.kwargs.is_entry={is_entry}"]
    env = ["env=gymnasium", "env.id=qframe-test/Shows-v0", *kwargs]
    config = compose([*env, "compile=false", *overrides], provided=build.PROVIDED)
    parts = build.parts(config)
    network, seen = parts.loss.value_network, []
    for module in network.modules():
        if isinstance(module, nn.Linear | nn.Conv2d):
            module.register_forward_pre_hook(lambda module, inputs: seen.append(float(inputs[0].max())))
    envs = parts.envs.make(1)
    with torch.no_grad():
        network.predict(as_tensors(envs.reset().observation))
    envs.close()
    return seen[0]


@pytest.mark.parametrize("is_entry", [False, True])
@pytest.mark.parametrize("space", SPACES)
def test_the_largest_value_of_a_space_of_bytes_reaches_the_network_as_one(space, is_entry):
    assert first_input(space, is_entry=is_entry) == pytest.approx(1.0)


@pytest.mark.parametrize("space", ["grid", "image"])
def test_convolutions_follow_the_bounds_too(space):
    wrapped = ["trunk=small_conv", "env.wrappers=[qframe.envs.ChannelsFirst]"]
    assert first_input(space, is_entry=False, overrides=wrapped) == pytest.approx(1.0)
