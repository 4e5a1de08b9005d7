"""The greedy rule as a forward hook: a plain network becomes a policy without being wrapped."""

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

from tensordict import TensorDictBase
from torch import Tensor, nn

from qframe.actions.from_spec import VarNums
from qframe.actions.specs.base import TensorSpec
from qframe.keys import NestedKey, as_path
from qframe.modules.distributional import DistributionalQValueModule
from qframe.modules.q_value import QValueModule


class QValueHook:
    """Turns a network's action values into ``(action, action_value, chosen_action_value)`` as a forward hook.

    On a plain module, the output ``[*B, A]`` becomes that triple; the mask, if any, is the call's argument of the
    mask key's name, else its last positional one. On a tensordict module the three are written under ``out_keys``.
    Register it with ``with_kwargs=True`` if the mask is passed as a keyword.

    Args:
        action_space: a name or a spec.
        var_nums: sizes of a joint action's components, or one int, the size of each.
        action_value_key: where a tensordict module writes the values; by default ``action_value``.
        action_mask_key: the key of the mask in the call's inputs; None: all actions are legal.
        out_keys: where action, values and chosen value are written in a tensordict.

    Raises:
        ValueError: arguments that disagree, or are missing.
        KeyError: a call without the mask.
        TypeError: the mask is not boolean.

    >>> import torch
    >>> from tensordict import TensorDict
    >>> from torch import nn
    >>> from qframe.actions import OneHotDiscreteTensorSpec
    >>> from qframe.modules import QValueHook, Actor
    >>> td = TensorDict({'observation': torch.randn(5, 4)}, [5])
    >>> module = nn.Linear(4, 4)
    >>> hook = QValueHook("one_hot")
    >>> module.register_forward_hook(hook)
    <torch.utils.hooks.RemovableHandle object at ...>
    >>> action_spec = OneHotDiscreteTensorSpec(4)
    >>> qvalue_actor = Actor(module=module, spec=action_spec, out_keys=["action", "action_value"])
    >>> td = qvalue_actor(td)
    >>> print(td)
    TensorDict(batch_size=[5], fields={
        action: i64[4],
        action_value: f32[4],
        observation: f32[4]})
    """

    def __init__(
        self,
        action_space: str | TensorSpec,
        var_nums: VarNums | None = None,
        action_value_key: NestedKey | None = None,
        action_mask_key: NestedKey | None = None,
        out_keys: Sequence[NestedKey] | None = None,
    ) -> None:
        self.qvalue = QValueModule(
            action_space, action_value_key, action_mask_key, out_keys, var_nums
        )

    def __call__(
        self, net: nn.Module | None, observation: Any, *call: Any, values: Any = None
    ) -> tuple[Tensor, ...] | TensorDictBase:
        """The hook that torch calls with ``(inputs, output)``, or ``(inputs, keywords, output)``.

        In a direct call the output may be given as ``values``. The result has one entry per out-key.
        """
        *keywords, output = call or (values,)
        if isinstance(output, TensorDictBase):
            return self.qvalue(output)
        mask = self._mask(net, observation, keywords[0] if keywords else {})
        return self.qvalue.choose(output, mask)[: len(self.qvalue.out_keys)]

    def _mask(self, network: nn.Module | None, inputs: tuple[Any, ...], keywords: Mapping[str, Any]) -> Tensor | None:
        key = self.qvalue.action_mask_key
        if key is None:
            return None
        assert network is not None
        path = as_path(key)
        named = {**dict(zip(inspect.signature(network.forward).parameters, inputs, strict=False)), **keywords}
        for name in ("_".join(path), path[-1]):
            if named.get(name) is not None:
                return named[name]
        if len(inputs) > 1:
            return inputs[-1]
        raise KeyError(
            f"no action mask {key!r} among the inputs of {type(network).__name__}: {len(inputs)} positional, and the "
            f"keywords {list(keywords)}; pass it, or register the hook with with_kwargs=True"
        )


class DistributionalQValueHook(QValueHook):
    """Turns log-probabilities ``[*B, N, A]`` into ``(action, action_value)`` as a forward hook.

    A third out-key adds the chosen expected value. See ``DistributionalQValueModule`` for ``support``, and
    ``QValueHook`` for everything else.

    >>> import torch
    >>> from torch import nn
    >>> network = nn.Sequential(nn.Linear(4, 6), nn.Unflatten(-1, (3, 2)), nn.LogSoftmax(-2))
    >>> _ = network.register_forward_hook(DistributionalQValueHook("categorical", torch.tensor([-1.0, 0.0, 1.0])))
    >>> action, log_probs = network(torch.zeros(5, 4))
    >>> action.shape, log_probs.shape
    (torch.Size([5]), torch.Size([5, 3, 2]))
    """

    def __init__(
        self,
        action_space: str | TensorSpec,
        support: Tensor,
        var_nums: VarNums | None = None,
        action_value_key: NestedKey | None = None,
        action_mask_key: NestedKey | None = None,
        out_keys: Sequence[NestedKey] | None = None,
    ) -> None:
        self.qvalue = DistributionalQValueModule(
            action_space, support, action_value_key, action_mask_key, out_keys, var_nums
        )
