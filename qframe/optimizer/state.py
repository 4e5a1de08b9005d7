"""The state of an optimizer of one vector, written as that of its parameters: a checkpoint does not tell them apart."""

from collections import defaultdict
from collections.abc import KeysView
from copy import copy, deepcopy
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from qframe.optimizer.flat_vector import FlatVector


def of_each(state: dict[str, Any], flat: FlatVector) -> dict[str, Any]:
    """The state of a torch optimizer of one vector, as that of an optimizer of the parameters in it."""
    number, (group,) = len(flat.views(flat.vector)), state["param_groups"]
    whole = state["state"].get(0, {})
    parts = {name: flat.views(x) if is_like(x, flat) else [deepcopy(x)] * number for name, x in whole.items()}
    each = {i: {name: values[i] for name, values in parts.items()} for i in range(number)} if whole else {}
    return {"state": each, "param_groups": [group | {"params": list(range(number))}]}


def of_all(state: dict[str, Any], flat: FlatVector) -> dict[str, Any]:
    """The inverse of ``of_each``.

    Raises:
        ValueError: the state is not one of these parameters.
    """
    each, (group, *others) = state["state"], state["param_groups"]
    shapes = [view.shape for view in flat.views(flat.vector)]
    if others or len(group["params"]) != len(shapes):
        raise ValueError(f"expected an optimizer's state of {len(shapes)} parameters, got {len(group['params'])}")
    whole = {}
    for name, first in each.get(0, {}).items():
        entries = [each[i][name] for i in range(len(shapes))]
        is_of_entries = isinstance(first, Tensor) and first.shape == shapes[0] and name != "step"
        whole[name] = flat.join(entries) if is_of_entries else first
    return {"state": {0: whole} if whole else {}, "param_groups": [group | {"params": [0]}]}


def take_over(state: dict[str, Any], optimizer: Optimizer) -> None:
    """Load what an optimizer remembers; what this one was told stays, all but the learning rate, which is annealed.

    Raises:
        ValueError: told so, it remembers something else.
    """
    (group,) = optimizer.param_groups
    kept, own = state["state"].get(0, {}).keys(), _remembered(optimizer)
    if kept and kept != own:
        raise ValueError(
            f"expected an optimizer that remembers {', '.join(kept)} of a parameter, got one that remembers "
            f"{', '.join(own) or 'nothing'}; what decides that is told when a run begins"
        )
    told = {name: value for name, value in group.items() if name not in ("params", "lr")}
    optimizer.load_state_dict(state)
    optimizer.param_groups[0].update(told)


def _remembered(optimizer: Optimizer) -> KeysView[str]:
    (group,) = optimizer.param_groups
    parameter = torch.nn.Parameter(torch.zeros_like(group["params"][0]))
    parameter.grad = torch.zeros_like(parameter)
    alike = copy(optimizer)
    alike.state, alike.param_groups = defaultdict(dict), [group | {"params": [parameter]}]
    alike.step()
    return alike.state[parameter].keys()


def is_like(x: Any, flat: FlatVector) -> bool:
    """Whether something has an entry for each of the vector's."""
    return isinstance(x, Tensor) and x.shape == flat.vector.shape
