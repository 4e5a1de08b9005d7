"""What the builder needs beside the parts: stand-ins for faulty ones, and configs and spaces as words."""

from collections.abc import Collection, Mapping
from typing import Any, cast

from gymnasium import spaces
from omegaconf import DictConfig, OmegaConf
from torch import nn

from qframe.actions import ActionSpace, make_action_space
from qframe.config.schema import NO_INIT
from qframe.envs import Envs, GymnasiumEnvs
from qframe.objectives import DQNLoss

STAND_INS = {"seed": 0, "device": "cpu", "gamma": 0.5, "total_frames": 1_000_000_000, "init": NO_INIT}
"""Valid settings in place of faulty ones, so that faults of the parts are found as well."""
TRAINING_ONLY = {
    "num_envs": "has no effect; set evaluation.num_envs",
    "terminal_on_life_loss": "has no effect: an evaluated episode ends with the game",
}
"""Keys of environments that evaluation does not read."""


def some_envs() -> GymnasiumEnvs:
    """An environment."""
    return GymnasiumEnvs("CartPole-v1", num_envs=1, vectorization="sync")


def some_space() -> ActionSpace:
    """An action space."""
    return make_action_space(spaces.Discrete(2), encoding="auto")


def some_loss(config: Mapping[str, Any], broken: Collection[str]) -> DQNLoss | None:
    """A loss with or without a target network, as the config says; None if its config is broken."""
    if "loss" in broken:
        return None
    delay_value = bool(config["loss"].get("delay_value"))
    return DQNLoss(nn.Linear(1, 2), action_space="categorical", delay_value=delay_value, gamma=0.5)


def as_words(value: Any) -> Any:
    """A config value with its nodes as text.

    >>> as_words({"wrappers": [{"_target_": "gymnasium.wrappers.TimeLimit", "max_episode_steps": 5}]})
    {'wrappers': ['TimeLimit(max_episode_steps=5)']}
    """
    if isinstance(value, Mapping) and "_target_" in value:
        given = ", ".join(f"{key}={as_words(item)!r}" for key, item in value.items() if key != "_target_")
        return f"{str(value['_target_']).rpartition('.')[2]}({given})"
    if isinstance(value, Mapping):
        return {key: as_words(item) for key, item in value.items()}
    return [as_words(item) for item in value] if isinstance(value, list | tuple) else value


def plain_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """A config as plain values, interpolations resolved."""
    if isinstance(config, DictConfig):
        return cast(dict[str, Any], OmegaConf.to_container(config, resolve=True))
    return dict(config)


def spaces_of(envs: Envs) -> str:
    """The observation and the action space, for messages."""
    return f"{envs.observation_space} and {envs.action_space}"
