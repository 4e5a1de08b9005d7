"""Other people's networks under the interface of ours: ``observe``, ``predict``, ``head``, ``action_space``.

A loss accepts a Q-value actor, a distributional actor, an actor with a hook, or a plain module. Which of them it has
is decided here, once; the loss sees one interface.
"""

from typing import Any, cast

import torch
from tensordict import TensorDictBase
from tensordict.nn import TensorDictModuleBase, TensorDictSequential
from torch import Tensor, nn

from qframe.actions.specs.base import TensorSpec
from qframe.actions.specs.layout import ActionLayout, canonical_name, find_action_space, num_actions
from qframe.functional.action import Branches, OneChoice
from qframe.heads import CategoricalHead, Head, Prediction, ScalarHead
from qframe.keys import ACTION_VALUE, OBSERVATION, required
from qframe.modules.q_value import QValueModule
from qframe.networks.protocol import Network


def as_network(
    module: nn.Module, *, loss_function: str | None = None, branches: Branches | None = None
) -> Network:
    """The module itself if it has the interface, else the module behind an adapter.

    Args:
        module: a ``QNet`` or ``SharedTrunk``; a tensordict module that writes ``action_value`` (scalar ``[*B, A]``, or
            log-probabilities ``[*B, N, A]`` if it carries a ``support``); or a plain module observation → ``[*B, A]``.
        loss_function: of the scalar head that such a module gets; None is ``l2``.
        branches: of a joint action; None: there are none.

    Raises:
        ValueError: a loss function for a network that has a head of its own, or for a distributional one.
    """
    if hasattr(module, "predict") and hasattr(module, "head"):
        _refuse_loss_function(loss_function, "a network with a head of its own; give it to the head")
        return cast(Network, module)
    branches = OneChoice() if branches is None else branches
    if isinstance(module, TensorDictModuleBase):
        return TensorDictNetwork(module, loss_function=loss_function, branches=branches)
    return PlainNetwork(module, loss_function=loss_function, branches=branches)


def agreed_layout(action_space: str | TensorSpec | None, network: nn.Module) -> ActionLayout:
    """How actions are written, as a loss's argument and its network say alike.

    Args:
        action_space: a name or a spec; None takes the network's.
        network: any that ``as_network`` takes.

    Raises:
        ValueError: neither says it, or they disagree.
    """
    says = _q_value(network) or network
    own: ActionLayout | None = getattr(says, "layout", None)
    if own is None:
        own_name = getattr(network, "action_space", None)
        own = None if own_name is None else ActionLayout(canonical_name(own_name))
    if own is None:
        if action_space is None:
            raise ValueError(
                "expected an action_space (a name or a spec), got none and the network does not say its own"
            )
        return find_action_space(action_space)
    if action_space is None:
        return own
    is_name = isinstance(action_space, str)
    name = canonical_name(action_space) if is_name else find_action_space(action_space).name
    if name != own.name:
        raise ValueError(f"expected the network's action space {own.name!r}, got {name!r}; give both the same one")
    spec = getattr(says, "spec", None)
    if not is_name and spec is not None and num_actions(spec) != num_actions(action_space):
        raise ValueError(f"expected the network's action space {spec}, got {action_space}; give both the same one")
    return own if is_name else find_action_space(action_space)


def _q_value(module: nn.Module) -> QValueModule | None:
    """The greedy rule that a network ends in."""
    last = module.module[-1] if isinstance(module, TensorDictSequential) else module
    return last if isinstance(last, QValueModule) else getattr(module, "q_value", None)


class PlainNetwork:
    """A plain module observation → action values ``[*B, A]``, read as a scalar head's outputs."""

    action_space = None

    def __init__(self, module: nn.Module, *, loss_function: str | None, branches: Branches) -> None:
        self._module, self.branches = module, branches
        self.head: Head[Any] = ScalarHead(None, 1, loss_function=loss_function or "l2")

    def observe(self, tensordict: TensorDictBase) -> Tensor:
        """The observation."""
        return required(tensordict, OBSERVATION, "the observation")

    def predict(self, observation: Tensor, taus: Tensor | None = None) -> Prediction:
        """The prediction for every action, ``[*B, A, 1]``; for a joint one ``[D, *B, A, 1]``."""
        return Prediction(self.branches.split(self._module(observation).unsqueeze(-1)))


class TensorDictNetwork:
    """A tensordict module that writes action values, scalar ``[*B, A]`` or categorical ``[*B, N, A]``.

    Where it ends in the greedy rule, the loss reads what comes before: values that no mask has overwritten.

    Raises:
        ValueError: a support that is not evenly spaced, or has fewer than two atoms.
    """

    def __init__(self, module: TensorDictModuleBase, *, loss_function: str | None, branches: Branches) -> None:
        stages = list(module.module) if isinstance(module, TensorDictSequential) else [module]
        q_value = stages.pop() if isinstance(stages[-1], QValueModule) else None
        self._module, self._stages, self.branches = module, stages, branches
        self.q_value = q_value
        self._value_key = getattr(q_value, "action_value_key", ACTION_VALUE)
        self.action_space: str | None = getattr(q_value or module, "action_space", None)
        support = getattr(q_value, "support", None)
        self._is_distributional = support is not None
        if support is None:
            self.head: Head[Any] = ScalarHead(None, 1, loss_function=loss_function or "l2")
        else:
            _refuse_loss_function(loss_function, "a distributional network, whose loss is its head's")
            self.head = _categorical_head(support)

    def observe(self, tensordict: TensorDictBase) -> TensorDictBase:
        """The entries that the module reads."""
        return tensordict.select(*(key for key in self._module.in_keys if key in tensordict.keys(True)))

    def predict(self, observation: TensorDictBase, taus: Tensor | None = None) -> Prediction:
        """The prediction for every action, ``[*B, A, N]``; for a joint one ``[D, *B, A, N]``."""
        tensordict = observation.copy()
        for stage in self._stages:
            tensordict = stage(tensordict)
        value = required(tensordict, self._value_key, "the action values")
        if not self._is_distributional:
            return Prediction(self.branches.split(value.unsqueeze(-1)))
        if value.ndim < 2 or value.shape[-2] != self.head.num_outputs:
            raise ValueError(
                f"expected log-probabilities [*B, N, A] with N = {self.head.num_outputs} atoms, "
                f"got shape {[*value.shape]}"
            )
        return Prediction(self.branches.split(value.transpose(-1, -2)))


def _categorical_head(support: Tensor) -> CategoricalHead:
    atoms = support.tolist() if support.dim() == 1 else []
    if len(atoms) < 2:
        raise ValueError(f"expected a support of at least two atoms, got shape {[*support.shape]}")
    if not support.isfinite().all():
        raise ValueError(f"expected a support of finite atoms, got {atoms}")
    head = CategoricalHead(None, 1, num_atoms=len(atoms), v_min=atoms[0], v_max=atoms[-1])
    if not torch.allclose(head.support.to(support), support, atol=1e-4 * abs(atoms[1] - atoms[0])):
        raise ValueError(f"expected an evenly spaced support, got {atoms}")
    return head


def _refuse_loss_function(loss_function: str | None, network: str) -> None:
    if loss_function is not None:
        raise ValueError(f"expected no loss_function for {network}, got {loss_function!r}")
