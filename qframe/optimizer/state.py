"""The state of an optimizer of one vector, saved per parameter, so that checkpoints do not depend on the layout."""

from collections import defaultdict
from collections.abc import KeysView
from copy import copy, deepcopy
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from qframe.optimizer.flat_vector import FlatVector


def of_each(state: dict[str, Any], flat: FlatVector) -> dict[str, Any]:
    """The state of a torch optimizer of one vector, as the state of an optimizer of the parameters in it."""
    number, (group,) = len(flat.views(flat.vector)), state["param_groups"]
    whole = state["state"].get(0, {})
    parts = {name: flat.views(x) if is_like(x, flat) else [deepcopy(x)] * number for name, x in whole.items()}
    each = {i: {name: values[i] for name, values in parts.items()} for i in range(number)} if whole else {}
    return {"state": each, "param_groups": [group | {"params": list(range(number))}]}


def of_all(state: dict[str, Any], flat: FlatVector) -> dict[str, Any]:
    """The inverse of ``of_each``.

    Raises:
        ValueError: the state belongs to other parameters.
    """
    each, (group, *others) = state["state"], state["param_groups"]
    shapes = [view.shape for view in flat.views(flat.vector)]
    if others or len(group["params"]) != len(shapes):
        raise ValueError(f"the saved optimizer has {len(group['params'])} parameters, this one has {len(shapes)}")
    whole = {}
    for name, first in each.get(0, {}).items():
        entries = [each[i][name] for i in range(len(shapes))]
        is_of_entries = isinstance(first, Tensor) and first.shape == shapes[0] and name != "step"
        whole[name] = flat.join(entries) if is_of_entries else first
    return {"state": {0: whole} if whole else {}, "param_groups": [group | {"params": [0]}]}


def take_over(state: dict[str, Any], optimizer: Optimizer) -> None:
    """Load an optimizer's moments and learning rate; all other settings stay those of this optimizer.

    Raises:
        ValueError: the optimizer keeps other moments with these settings.
    """
    (group,) = optimizer.param_groups
    kept, own = state["state"].get(0, {}).keys(), _moments(optimizer)
    if kept and kept != own:
        raise ValueError(
            f"the saved optimizer keeps {', '.join(kept)} per parameter, this one {', '.join(own) or 'nothing'}; "
            "resume with the settings that the run began with"
        )
    settings = {name: value for name, value in group.items() if name not in ("params", "lr")}
    optimizer.load_state_dict(state)
    optimizer.param_groups[0].update(settings)


def _moments(optimizer: Optimizer) -> KeysView[str]:
    """The names of the state that the optimizer keeps per parameter, found by a step of a copy."""
    (group,) = optimizer.param_groups
    parameter = torch.nn.Parameter(torch.zeros_like(group["params"][0]))
    parameter.grad = torch.zeros_like(parameter)
    alike = copy(optimizer)
    alike.state, alike.param_groups = defaultdict(dict), [group | {"params": [parameter]}]
    alike.step()
    return alike.state[parameter].keys()


def is_like(x: Any, flat: FlatVector) -> bool:
    """Whether ``x`` is a tensor with an entry for each of the vector's."""
    return isinstance(x, Tensor) and x.shape == flat.vector.shape
