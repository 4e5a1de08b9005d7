"""Choices that work together but learn poorly or waste memory: ``check`` and every run print a warning for each."""

import math
import re
from collections.abc import Mapping
from typing import Any

from gymnasium import spaces
from torch import nn

from qframe.config.memory_prediction import frames_instead, memory_warning
from qframe.config.parts import Parts
from qframe.networks import MLPTrunk
from qframe.networks.trunks import fitting_trunk
from qframe.replay import RolloutBuffer, SliceReplayBuffer

LARGE_OBSERVATIONS = 1e9
"""Bytes of stored observations from which a layout that stores each frame once is worth a line."""
MANY_INPUTS = 4_096
"""Numbers in an observation from which an MLP's first layer is most of the network."""


def config_warnings(parts: Parts, config: Mapping[str, Any]) -> list[str]:
    """A line with the remedy for each choice that is probably a mistake."""
    found = [_mlp_over_pixels(parts), _unclipped_scores(parts), _target_for_rollouts(parts)]
    found += [_frames_stored_twice(parts, config), memory_warning(parts), _never_the_same(config), _no_choice(parts)]
    return [f"warning: {line}" for line in found if line is not None]


def _mlp_over_pixels(parts: Parts) -> str | None:
    network, space = parts.loss.value_network, parts.envs.observation_space
    assert isinstance(network, nn.Module)
    trunk = next((part for part in network.modules() if isinstance(part, MLPTrunk)), None)
    if trunk is None or not isinstance(space, spaces.Box):
        return None
    size = f"{sum(parameter.numel() for parameter in trunk.parameters()):,} parameters"
    option, _, seen = fitting_trunk(space)
    if option != "mlp":
        return f"trunk: an MLP of {size} sees no neighbourhoods in {seen}; use trunk=auto, which is {option} here"
    if math.prod(space.shape) < MANY_INPUTS:
        return None
    shape = " × ".join(map(str, space.shape))
    return (
        f"trunk: an MLP has {size} for observations of {shape} numbers; if they are pictures, give them three "
        "dimensions, such as by the wrapper qframe.envs.Pixels, so that trunk=auto uses convolutions"
    )


def _unclipped_scores(parts: Parts) -> str | None:
    is_atari = re.search(r"\b(Atari |ALE/)", str(parts.envs.protocol.get("env"))) is not None
    if not is_atari or not parts.reward.is_identity or parts.loss.head.transform is not None:
        return None
    return (
        "reward: points of Atari games range from 1 to thousands, and none are clipped; set reward.clip=[-1,1], "
        "reward.normalize=true, or head.transform=h"
    )


def _target_for_rollouts(parts: Parts) -> str | None:
    if not isinstance(parts.replay, RolloutBuffer) or not parts.loss.delay_value:
        return None
    return (
        "target: rollouts are discarded before the network has moved far, so a target network only delays learning; "
        "PQN has none: set target=none loss.delay_value=false"
    )


def _frames_stored_twice(parts: Parts, config: Mapping[str, Any]) -> str | None:
    stack = _stacked_frames(parts, config)
    stored, as_frames = frames_instead(parts, stack)
    if stored < LARGE_OBSERVATIONS or as_frames is None:
        return None
    in_slices = isinstance(parts.replay, SliceReplayBuffer)
    choices = [] if in_slices else ["replay=frames"]
    choices += [f"replay.stack={stack}"] if in_slices or stack != 4 else []
    return (
        f"replay: {'slices' if in_slices else 'transitions'} store every frame {stack if in_slices else 2 * stack} "
        f"times, in {stored / 1e9:,.2f} GB; use {' '.join(choices)}, which takes {as_frames / 1e9:,.2f} GB"
    )


def _never_the_same(config: Mapping[str, Any]) -> str | None:
    if config["collector"].get("order") != "arrival":
        return None
    return "collector: order=arrival takes messages as they come, so no two runs are equal; order=fixed repeats a run"


def _no_choice(parts: Parts) -> str | None:
    if max(parts.action_space.choices) > 1:
        return None
    return f"env: its action space {parts.envs.action_space} leaves no choice, so there is nothing to learn"


def _stacked_frames(parts: Parts, config: Mapping[str, Any]) -> int:
    """The number of frames in an observation, the oldest of which the next one drops."""
    space, wrappers = parts.envs.observation_space, parts.envs.protocol.get("wrappers", ())
    given = [config["env"]["stack"]] if "stack" in config["env"] else []
    for wrapper in wrappers:
        if wrapper.startswith("Pixels") and "grey=False" not in wrapper:
            given.append(int((re.findall(r"stack=(\d+)", wrapper) or [4])[0]))
        given += map(int, re.findall(r"stack_size=(\d+)", wrapper))
    return given[-1] if given and space.shape is not None and space.shape[:1] == (given[-1],) else 1
