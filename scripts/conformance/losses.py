"""The two losses, their gradients and priorities, and the target updates."""

import copy
from itertools import product
from typing import Any

import torch
import torchrl.modules as reference
import torchrl.objectives as reference_objectives
from record import Record
from tensordict import TensorDict
from torch import nn

import qframe.modules
import qframe.objectives

BATCHES, B, ACTIONS, FEATURES = 40, 50, 4, 3
SUPPORT = torch.linspace(-3.0, 3.0, 21)


def compare(record: Record) -> None:
    """All of this file."""
    torch.manual_seed(1)
    for space, loss_function, (delayed, double) in product(
        ("one-hot", "categorical"), ("l2", "l1", "smooth_l1"), ((False, False), (True, False), (True, True))
    ):
        _dqn(record, space, loss_function, delay_value=delayed, double_dqn=double)
    for space in ("one-hot", "categorical"):
        _dqn(record, space, "l2", reduction="none")
        _dqn(record, space, "l2", reduction="sum")
        for delayed in (False, True):
            _distributional(record, space, delayed)
    for name in ("TD0", "TD1", "TDLambda"):
        _along_time(record, name)
    _target_updates(record)


def _dqn(record: Record, space: str, loss_function: str, **options: Any) -> None:
    layer = nn.Linear(FEATURES, ACTIONS)
    ours = qframe.objectives.DQNLoss(
        qframe.modules.QValueActor(layer, action_space=space), loss_function=loss_function, action_space=space,
        **options,
    )  # fmt: skip
    theirs = reference_objectives.DQNLoss(
        reference.QValueActor(copy.deepcopy(layer), action_space=space), loss_function=loss_function,
        action_space=space, **{"delay_value": False, **options},
    )  # fmt: skip
    for library_loss in (ours, theirs):
        library_loss.make_value_estimator("TD0" if library_loss is ours else _td0(), gamma=0.9)
    _drift(ours, theirs)
    part = f"DQNLoss, {space}, {loss_function}{''.join(f', {key}' for key, on in options.items() if on)}"
    for _ in range(BATCHES):
        _same_loss(record, part, ours, theirs, _batch(space))


def _distributional(record: Record, space: str, delayed: bool) -> None:
    layer = nn.Sequential(nn.Linear(FEATURES, len(SUPPORT) * ACTIONS), nn.Unflatten(-1, (len(SUPPORT), ACTIONS)))
    ours, theirs = (
        objectives.DistributionalDQNLoss(
            modules.DistributionalQValueActor(copy.deepcopy(layer), support=SUPPORT, action_space=space),
            gamma=0.9, delay_value=delayed,
        )
        for objectives, modules in ((qframe.objectives, qframe.modules), (reference_objectives, reference))
    )  # fmt: skip
    _drift(ours, theirs)
    part = f"DistributionalDQNLoss, {space}{', delay_value' if delayed else ''}"
    for _ in range(BATCHES):
        _same_loss(record, part, ours, theirs, _batch(space), squares=False)


def _same_loss(record: Record, part: str, ours: Any, theirs: Any, batch: TensorDict, squares: bool = True) -> None:
    values, gradients, priorities = [], [], []
    for loss in (ours, theirs):
        rows = batch.clone()
        value = loss(rows)["loss"]
        loss.zero_grad()
        value.sum().backward()
        values.append(value)
        gradients.append([parameter.grad for parameter in loss.parameters() if parameter.grad is not None])
        priorities.append(rows["td_error"])
    record.compare(part, values[0].reshape(-1), values[1].reshape(-1), B)
    for own, other in zip(*gradients, strict=True):
        record.compare(f"{part}: gradient", own, other, B)
    if squares:  # TorchRL writes a square, qframe the absolute value
        record.compare(part, priorities[0].square(), priorities[1], B)
    arguments = {key if isinstance(key, str) else "_".join(key): batch[key] for key in ours.in_keys if key in batch}
    if squares and batch.batch_dims == 1:
        answer = theirs(**arguments)
        answer = answer["loss"] if isinstance(answer, TensorDict) else answer
        record.compare(f"{part}: keywords", ours(**arguments).reshape(-1), answer.reshape(-1), B)


def _batch(space: str, shape: tuple[int, ...] = (B,)) -> TensorDict:
    action = torch.randint(ACTIONS, shape)
    terminated = torch.rand(*shape, 1) < 0.2
    return TensorDict(
        {
            "observation": torch.randn(*shape, FEATURES),
            "action": action if space == "categorical" else nn.functional.one_hot(action, ACTIONS),
            "next": {
                "observation": torch.randn(*shape, FEATURES),
                "reward": torch.randn(*shape, 1),
                "terminated": terminated,
                "done": terminated | (torch.rand(*shape, 1) < 0.1),
            },
        },
        shape,
    )


def _drift(ours: Any, theirs: Any) -> None:
    """Give both libraries' online and target networks the same random weights, matched by their shapes."""
    networks = [(ours.value_network, theirs.value_network_params)]
    if ours.target_value_network is not ours.value_network:
        networks.append((ours.target_value_network, theirs.target_value_network_params))
    for network, twin in networks:
        leaves = {tuple(leaf.shape): leaf for leaf in twin.values(True, True)}
        for parameter in network.parameters():
            parameter.data.copy_(torch.randn(parameter.shape))
            leaves[tuple(parameter.shape)].data.copy_(parameter)


def _td0() -> Any:
    return reference_objectives.ValueEstimators.TD0


def _along_time(record: Record, name: str) -> None:
    layer = nn.Linear(FEATURES, ACTIONS)
    ours = qframe.objectives.DQNLoss(layer, action_space="categorical", delay_value=True)
    theirs = reference_objectives.DQNLoss(
        reference.QValueActor(copy.deepcopy(layer), action_space="categorical"), action_space="categorical",
        delay_value=True,
    )  # fmt: skip
    options = {"lambda_": 0.8} if name == "TDLambda" else {}
    ours.make_value_estimator(name, gamma=0.9, **options)
    renamed = {"lmbda": 0.8} if options else {}
    theirs.make_value_estimator(getattr(reference_objectives.ValueEstimators, name), gamma=0.9, **renamed)
    _drift(ours, theirs)
    for _ in range(BATCHES):
        _same_loss(record, f"DQNLoss along time, {name}", ours, theirs, _batch("categorical", (B // 5, 5)))


def _target_updates(record: Record) -> None:
    layer = nn.Linear(FEATURES, ACTIONS)
    ours = qframe.objectives.DQNLoss(layer, action_space="categorical", delay_value=True)
    theirs = reference_objectives.DQNLoss(
        reference.QValueActor(copy.deepcopy(layer), action_space="categorical"), action_space="categorical",
        delay_value=True,
    )  # fmt: skip
    updates = qframe.objectives.SoftUpdate(ours, tau=0.1), reference_objectives.SoftUpdate(theirs, tau=0.1)
    for own, other in zip(layer.parameters(), _trained(theirs), strict=True):
        own.data.copy_(other)
    ours.target_value_network.load_state_dict(layer.state_dict())  # TorchRL copies when the update is built
    for _ in range(1000):
        shift = [torch.randn(parameter.shape) for parameter in layer.parameters()]
        with torch.no_grad():
            for parameters in (layer.parameters(), _trained(theirs)):
                for parameter, step in zip(parameters, shift, strict=True):
                    parameter.mul_(0.9).add_(step)
        for update in updates:
            update.step()
        target = {tuple(leaf.shape): leaf for leaf in theirs.target_value_network_params.values(True, True)}
        for own in ours.target_value_network.parameters():
            record.compare("SoftUpdate", own, target[tuple(own.shape)])


def _trained(loss: nn.Module) -> list[nn.Parameter]:
    return [parameter for parameter in loss.parameters() if parameter.requires_grad]
