"""From action values to the greedy action: the module that chooses, and a network followed by it."""

from collections.abc import Sequence
from math import prod
from typing import Any, Literal

import torch
from tensordict import TensorDictBase
from tensordict.nn import TensorDictModuleBase, dispatch
from torch import Tensor, nn

from qframe.actions.from_spec import VarNums, find_action_space, leaf_spec
from qframe.actions.specs.base import TensorSpec
from qframe.functional.action import mask_values
from qframe.keys import ACTION, ACTION_VALUE, CHOSEN_ACTION_VALUE, OBSERVATION, NestedKey, required
from qframe.modules.safe import SafeModule, SafeSequential

StrictShape = bool | Literal["auto"] | None


class QValueModule(TensorDictModuleBase):
    """The greedy action ``argmax_a q(s, a)``, the action values and the value of the chosen action.

    Called with a tensordict, or with tensors or keyword arguments named as the keys (nested ones joined by ``_``).
    Values that a mask forbids are written back as the lowest finite number of their dtype.

    Args:
        action_space: a name or a spec; needed unless ``spec`` is given.
        action_value_key: where the values ``[*B, A]`` are read.
        action_mask_key: where the mask is read, bool, True = legal, broadcastable to the values; None: all are legal.
        out_keys: where action, values and chosen value ``[*B, 1]`` are written; a shorter list leaves the last ones
            out. By default ``action_key, action_value_key, "chosen_action_value"``.
        var_nums: sizes of a joint action's components, or one int, the size of each.
        spec: the action's spec, or a ``Composite`` that holds it under the action key.
        safe: project an action outside ``spec`` into it, deterministically; the chosen value follows.
        strict_shape: what happens to an action that is not of the shape of ``spec``, ``[*B, *spec.shape]``: True
            (None too) raises, ``auto`` reshapes it, False writes it as it is.
        action_key: where the action is written.

    Raises:
        ValueError: arguments that disagree, or are missing.
        KeyError: called without the values or the mask.
        TypeError: the mask is not boolean.
        RuntimeError: the action is not of the shape of ``spec``, and ``strict_shape`` does not allow that.

    >>> import torch
    >>> module = QValueModule("one-hot", action_mask_key="mask")
    >>> module(torch.tensor([1.0, 9.0, 2.0]), mask=torch.tensor([True, False, True]))
    (tensor([0, 0, 1]), tensor([ 1.0000e+00, -3.4028e+38,  2.0000e+00]), tensor([2.]))
    """

    num_default_outputs = 3

    def __init__(
        self,
        action_space: str | TensorSpec | None = None,
        action_value_key: NestedKey | None = None,
        action_mask_key: NestedKey | None = None,
        out_keys: Sequence[NestedKey] | None = None,
        var_nums: VarNums | None = None,
        spec: TensorSpec | None = None,
        safe: bool = False,
        strict_shape: StrictShape = True,
        *,
        action_key: NestedKey | None = None,
    ) -> None:
        super().__init__()
        if strict_shape not in (True, False, None, "auto"):
            raise ValueError(f"strict_shape is True, False or 'auto', not {strict_shape!r}")
        self.strict_shape: StrictShape = strict_shape
        self.action_value_key: NestedKey = ACTION_VALUE if action_value_key is None else action_value_key
        self.action_mask_key = action_mask_key
        read: list[Any] = [self.action_value_key] + ([] if action_mask_key is None else [action_mask_key])
        written: list[Any] = self._named_outputs(out_keys, action_key)
        self.in_keys, self.out_keys = read, written
        self.action_key: NestedKey = written[0]
        self.space = find_action_space(action_space, spec, var_nums, self.action_key)
        given = action_space if spec is None and isinstance(action_space, TensorSpec) else spec
        self.spec = None if given is None else leaf_spec(given, self.action_key)
        if safe and self.spec is None:
            raise ValueError("safe=True needs a spec, which defines the domain to project into")
        self.safe = safe

    @property
    def action_space(self) -> str:
        """The canonical name of the action space."""
        return self.space.encoding

    @property
    def var_nums(self) -> int | tuple[int, ...] | None:
        """The sizes of a joint action's components."""
        return self.space.var_nums

    @dispatch(auto_batch_size=False)
    def forward(self, tensordict: TensorDictBase) -> TensorDictBase:
        """Read values and mask, write action, values and chosen value."""
        value = required(tensordict, self.action_value_key, "the action values")
        mask_key = self.action_mask_key
        mask = None if mask_key is None else required(tensordict, mask_key, "the action mask")
        for key, entry in zip(self.out_keys_source, self.choose(value, mask), strict=False):
            tensordict.set(key, entry)
        return tensordict

    def choose(self, value: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """The greedy action, the masked values and the chosen value ``[*B, 1]``, without a tensordict."""
        value = mask_values(value, mask)
        action = self.space.greedy_action(value, mask)
        if self.safe and self.spec is not None:
            action = self.spec.project(action)
        chosen = self.space.chosen_value(value, action.to(torch.int64))
        return self._of_spec(action, value.shape[:-1]), value, chosen

    def _of_spec(self, action: Tensor, batch: Sequence[int]) -> Tensor:
        """The action in the shape of the spec."""
        if self.spec is None or self.strict_shape is False:
            return action
        shape = (*batch, *self.spec.shape)
        if action.shape == shape:
            return action
        if self.strict_shape != "auto" or action.numel() != prod(shape):
            is_auto = self.strict_shape == "auto"
            remedy = " and cannot be reshaped" if is_auto else "; set strict_shape='auto' to reshape it"
            raise RuntimeError(
                f"the action of shape {[*action.shape]} does not match expected shape {[*shape]}, the batch and then "
                f"that of {self.spec}{remedy}"
            )
        return action.reshape(shape)

    def _named_outputs(self, out_keys: Sequence[NestedKey] | None, action_key: NestedKey | None) -> list[NestedKey]:
        if out_keys is None:
            defaults = [ACTION if action_key is None else action_key, self.action_value_key, CHOSEN_ACTION_VALUE]
            return defaults[: self.num_default_outputs]
        if not 1 <= len(out_keys) <= 3:
            raise ValueError(f"expected 1 to 3 out_keys (action, action value, chosen value), got {list(out_keys)}")
        if action_key is not None and out_keys[0] != action_key:
            raise ValueError(f"action_key and out_keys[0] disagree: {action_key!r} and {out_keys[0]!r}; give only one")
        return list(out_keys)


class QValueActor(SafeSequential):
    """A network followed by the greedy rule: ``observation`` → ``action, action_value, chosen_action_value``.

    Args:
        module: gives the action values ``[*B, A]``; a tensordict module must write them under ``action_value_key``.
        in_keys: the inputs of a plain module; by default ``["observation"]``.
        spec: as in ``QValueModule``, like the other keywords.

    Raises:
        ValueError: a tensordict module that does not write the values, or arguments that disagree.

    >>> import torch
    >>> from qframe.actions import Categorical
    >>> actor = QValueActor(torch.nn.Linear(4, 2), spec=Categorical(2))
    >>> action, action_value, chosen = actor(torch.zeros(3, 4))
    >>> action.shape, action_value.shape, chosen.shape
    (torch.Size([3]), torch.Size([3, 2]), torch.Size([3, 1]))
    """

    def __init__(
        self,
        module: nn.Module,
        in_keys: Sequence[NestedKey] | None = None,
        *,
        spec: TensorSpec | None = None,
        safe: bool = False,
        action_space: str | TensorSpec | None = None,
        var_nums: VarNums | None = None,
        action_value_key: NestedKey | None = None,
        action_mask_key: NestedKey | None = None,
        action_key: NestedKey | None = None,
        out_keys: Sequence[NestedKey] | None = None,
        strict_shape: StrictShape = True,
    ) -> None:
        q_value = QValueModule(
            action_space, action_value_key, action_mask_key, out_keys, var_nums, spec, safe, strict_shape,
            action_key=action_key,
        )
        super().__init__(value_network(module, in_keys, q_value.action_value_key), q_value)

    @property
    def q_value(self) -> QValueModule:
        """The module that chooses the action."""
        return self.module[-1]  # type: ignore[return-value]

    @property
    def action_space(self) -> str:
        """The canonical name of the action space."""
        return self.q_value.action_space

    @property
    def var_nums(self) -> int | tuple[int, ...] | None:
        """The sizes of a joint action's components."""
        return self.q_value.var_nums

    @property
    def action_value_key(self) -> NestedKey:
        """The key of the action values."""
        return self.q_value.action_value_key


def value_network(
    module: nn.Module, in_keys: Sequence[NestedKey] | None, action_value_key: NestedKey
) -> TensorDictModuleBase:
    """The module as a tensordict module that writes ``action_value_key``.

    Raises:
        ValueError: a tensordict module that does not.
    """
    if not isinstance(module, TensorDictModuleBase):
        return SafeModule(module, in_keys=[OBSERVATION] if in_keys is None else in_keys, out_keys=[action_value_key])
    if action_value_key not in module.out_keys:
        raise ValueError(
            f"the network does not write action values under {action_value_key!r}, only under "
            f"{list(module.out_keys)}; set action_value_key or its out_keys"
        )
    return module
