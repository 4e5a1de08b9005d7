"""Adapters that give other networks the interface of qframe's: ``observe``, ``predict``, ``head``, ``branches``.

A loss accepts a Q-value actor, a distributional actor, an actor with a hook, or a plain module. The kind is
determined here, once; the loss sees one interface.
"""

from typing import Any, cast

import torch
from tensordict import TensorDictBase
from tensordict.nn import TensorDictModuleBase, TensorDictSequential
from torch import Tensor, nn

from qframe.actions import ActionSpace, TensorSpec, find_action_space
from qframe.actions.action_space import canonical_name
from qframe.heads import CategoricalHead, Head, Prediction, ScalarHead
from qframe.keys import ACTION_VALUE, OBSERVATION, required
from qframe.modules.q_value import QValueModule
from qframe.networks.protocol import Branches, Network


def as_network(module: nn.Module, action_space: ActionSpace, *, loss_function: str | None = None) -> Network:
    """The module itself if it has the interface, else the module behind an adapter.

    Args:
        module: a ``QNet`` or ``SharedTrunk``; a tensordict module that writes ``action_value`` (scalar ``[*B, A]``, or
            log-probabilities ``[*B, N, A]`` if it carries a ``support``); or a plain module observation → ``[*B, A]``.
        action_space: of its action values.
        loss_function: of the scalar head added to a module without a head; None is ``l2``.

    Raises:
        ValueError: a loss function for a network with its own head, or for a distributional one.
    """
    if hasattr(module, "predict") and hasattr(module, "head"):
        _refuse_loss_function(loss_function, "a network with a head of its own; give it to the head")
        return cast(Network, module)
    if isinstance(module, TensorDictModuleBase):
        return TensorDictNetwork(module, action_space, loss_function=loss_function)
    return PlainNetwork(module, action_space, loss_function=loss_function)


def agreed_action_space(given: str | TensorSpec | ActionSpace | None, network: nn.Module) -> ActionSpace:
    """The action space that a loss's argument and its network agree on.

    Args:
        given: a name, a spec or an action space; None takes the network's.
        network: any that ``as_network`` accepts.

    Raises:
        ValueError: neither has one, they disagree, or it is binary: bits have no value per choice to train on.
    """
    found = getattr(_q_value(network), "space", None) or getattr(network, "action_space", None)
    if found is None and given is None:
        raise ValueError("neither the loss nor its network has an action space; give action_space, a name or a spec")
    own = ActionSpace(found) if isinstance(found, str) else found
    space = find_action_space(given) if own is None else _agreeing(given, own)
    if space.encoding == "binary":
        raise ValueError(
            "a 'binary' action space cannot be trained on, as its bits have no value per choice; use "
            "'multi-categorical' or 'mult-one-hot' with branches of two values"
        )
    return space


def _agreeing(given: str | TensorSpec | ActionSpace | None, own: ActionSpace) -> ActionSpace:
    if given is None:
        return own
    if isinstance(given, str):
        name, space = canonical_name(given), own
    else:
        space = find_action_space(given)
        name = space.encoding
    if name != own.encoding:
        raise ValueError(f"expected the network's action space {own.encoding!r}, got {name!r}; give both the same one")
    if own.has_sizes and space.has_sizes and own.sizes != space.sizes:
        raise ValueError(f"expected the network's action space {own}, got {given}; give both the same one")
    return space


def _q_value(module: nn.Module) -> QValueModule | None:
    """The greedy rule at the end of a network, if any."""
    last = module.module[-1] if isinstance(module, TensorDictSequential) else module
    return last if isinstance(last, QValueModule) else getattr(module, "q_value", None)


class PlainNetwork:
    """A plain module observation → action values ``[*B, A]``, read as a scalar head's outputs."""

    def __init__(self, module: nn.Module, action_space: ActionSpace, *, loss_function: str | None) -> None:
        self._module = module
        self.branches: Branches = action_space
        self.head: Head[Any] = ScalarHead(None, 1, loss_function=loss_function or "l2")
        self.width: int | None = None
        """The number of action values, known from the first prediction."""

    def observe(self, tensordict: TensorDictBase) -> Tensor:
        """The observation."""
        return required(tensordict, OBSERVATION, "the observation")

    def predict(self, observation: Tensor, taus: Tensor | None = None) -> Prediction:
        """The prediction for every action, ``[*B, A, 1]``; for a joint one ``[D, *B, A, 1]``."""
        value = self._module(observation)
        self.width = value.shape[-1]
        return Prediction(self.branches.split(value.unsqueeze(-1)))


class TensorDictNetwork:
    """A tensordict module that writes action values, scalar ``[*B, A]`` or categorical ``[*B, N, A]``.

    If it ends in the greedy rule, the loss reads the values before it, which no mask has overwritten.

    Raises:
        ValueError: a support that is not evenly spaced, or has fewer than two atoms.
    """

    def __init__(self, module: TensorDictModuleBase, action_space: ActionSpace, *, loss_function: str | None) -> None:
        stages = list(module.module) if isinstance(module, TensorDictSequential) else [module]
        q_value = stages.pop() if isinstance(stages[-1], QValueModule) else None
        self._module, self._stages = module, stages
        self.branches: Branches = action_space
        self.q_value = q_value
        self._value_key = getattr(q_value, "action_value_key", ACTION_VALUE)
        support = getattr(q_value, "support", None)
        self._is_distributional = support is not None
        self.width: int | None = None
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
        self.width = value.shape[-1]
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
        raise ValueError(f"loss_function={loss_function!r} does not apply to {network}")
