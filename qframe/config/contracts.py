"""The contracts of parts, checked once a part is built: a class of somebody else fails here and not in a run."""

from collections.abc import Callable
from copy import deepcopy
from typing import Any

import torch
from gymnasium import spaces
from gymnasium.vector.utils import concatenate, create_empty_array
from torch import Tensor, nn

from qframe.actions import ActionSpace
from qframe.config.targets import located
from qframe.envs import Envs
from qframe.envs.observations import as_tensors, own_copy
from qframe.errors import ConfigError, Fault
from qframe.estimators.protocol import ValueEstimator
from qframe.exploration import Exploration
from qframe.networks import Memory, Trunk
from qframe.networks.carried import carried
from qframe.networks.modes import evaluating
from qframe.networks.protocol import Network
from qframe.replay import Replay

CONTRACTS: dict[str, type] = {
    "env": Envs, "network": Network, "memory": Memory, "exploration": Exploration, "replay": Replay,
    "estimator": ValueEstimator,
}  # fmt: skip
"""The protocol of each group whose class may be somebody else's."""
BASES = {"network": "subclass qframe.networks.QNet, or write a trunk (group trunk), which needs nothing of this"}


def check_contract(group: str, part: Any) -> None:
    """Check that a part has the attributes and methods of its group's protocol.

    Raises:
        ConfigError: it lacks some.
    """
    if (contract := CONTRACTS.get(group)) is None:
        return
    names = [name for name in {**vars(contract), **contract.__annotations__} if not name.startswith("_")]
    if missing := [name for name in names if not hasattr(part, name)]:
        remedy = BASES.get(group, f"subclass {contract.__module__.rpartition('.')[0]}.{contract.__name__}")
        raise ConfigError([Fault(group, f"{type(part).__qualname__} has no {', '.join(missing)}; {remedy}")])


def check_trunk(trunk: Any, space: spaces.Box) -> Trunk:
    """Try a trunk on two observations; one that does not state its ``num_features`` gets the number that it returns.

    Raises:
        ConfigError: it is no module, fails, or returns something else than features.
    """
    name = type(trunk).__qualname__
    if not isinstance(trunk, nn.Module):
        raise ConfigError([Fault("trunk", f"{name} is not a torch.nn.Module; subclass qframe.networks.Trunk")])
    features = _tried("trunk", trunk, lambda: trunk(some_observations(space)))
    if not isinstance(features, Tensor) or features.ndim != 2 or len(features) != 2:
        found = list(features.shape) if isinstance(features, Tensor) else type(features).__name__
        message = f"{name} must return features [B, num_features] of observations {[2, *space.shape]}, not {found}"
        raise ConfigError([Fault("trunk", message)])
    stated = getattr(trunk, "num_features", features.shape[1])
    if stated != features.shape[1]:
        message = f"{name} returns {features.shape[1]} features, but its num_features is {stated}; make them equal"
        raise ConfigError([Fault("trunk", message)])
    trunk.num_features = features.shape[1]  # pyright: ignore
    if not hasattr(trunk, "shapes"):
        trunk.shapes = {}  # pyright: ignore
    return trunk  # pyright: ignore


def check_network(network: Any, space: spaces.Space[Any], action_space: ActionSpace) -> None:
    """Try a network and its head on two observations.

    Raises:
        ConfigError: it fails, or returns something else than action values.
    """
    value = _tried(
        "network", network,
        lambda: network.branches.join(
            network.head.value(carried(network, 2, action_space).predict(some_observations(space)))
        ),
    )  # fmt: skip
    wanted = 2, action_space.num_actions
    if not isinstance(value, Tensor) or value.shape != wanted:
        found = list(value.shape) if isinstance(value, Tensor) else type(value).__name__
        name = f"{type(network).__qualname__} with {type(network.head).__qualname__}"
        message = f"{name} must give action values {[*wanted]} for two observations, but gave {found}"
        raise ConfigError([Fault("network", message)])


def _tried(group: str, module: Any, act: Callable[[], Any]) -> Any:
    with evaluating(module), torch.no_grad():
        try:
            return act()
        except Exception as error:
            message = f"{type(module).__qualname__} failed on two observations: {located(error)}"
            raise ConfigError([Fault(group, message)]) from error


def some_observations(space: spaces.Space[Any], device: torch.device | str = "cpu") -> Any:
    """Two observations, as networks see them."""
    space = deepcopy(space)
    space.seed(0)
    two = as_tensors(own_copy(concatenate(space, [space.sample(), space.sample()], create_empty_array(space, 2))))
    return two.to(device)
