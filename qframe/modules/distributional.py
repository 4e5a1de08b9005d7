"""Distributional action values: from log-probabilities over a support to the greedy action."""

from collections.abc import Sequence
from typing import Any

import torch
from tensordict import TensorDictBase
from tensordict.nn import TensorDictModuleBase, dispatch
from torch import Tensor, nn

from qframe.actions.from_spec import VarNums
from qframe.actions.specs.base import TensorSpec
from qframe.functional.action import mask_values
from qframe.functional.compiling import is_readable
from qframe.keys import ACTION_VALUE, OBSERVATION, NestedKey, required
from qframe.modules.q_value import QValueModule, StrictShape, value_network
from qframe.modules.safe import SafeSequential


class DistributionalQValueModule(QValueModule):
    """The action of the greatest expected value, ``argmax_a Σ_i p_i(s, a) · z_i``, from log-probabilities.

    See "A Distributional Perspective on Reinforcement Learning", Bellemare et al., 2017, algorithm 1.

    Values are log-probabilities ``[*B, N, A]``, atoms at dimension −2. A mask is ``[*B, A]``, and broadcasts over the
    atoms of the values written back. A third out-key, if given, gets the chosen expected value ``[*B, 1]``.

    Args:
        action_space: a name or a spec; needed unless ``spec`` is given.
        support: the atoms z ``[N]``, in units of the return, or ``[D, N]``: one support per component of a joint
            action (per bit of a binary one).
        action_value_key: as in ``QValueModule``, like all further arguments.

    Raises:
        ValueError: a support of a wrong shape, arguments that disagree, or a positive log-probability, which is
            checked on the CPU only, and neither in compiled code nor within ``vmap``.
        KeyError: called without the values or the mask.
        TypeError: the mask is not boolean.

    >>> import torch
    >>> from tensordict import TensorDict
    >>> from qframe.modules import DistributionalQValueModule
    >>> torch.manual_seed(0)
    <torch._C.Generator object at ...>
    >>> action_space = "categorical"
    >>> action_value_key = "my_action_value"
    >>> support = torch.tensor([-1, 0.0, 1.0]) # the action value is between -1 and 1
    >>> actor = DistributionalQValueModule(action_space, support=support, action_value_key=action_value_key)
    >>> # This module works with both tensordict and regular tensors:
    >>> value = torch.full((3, 4), -100)
    >>> # the first bin (-1) of the first action is high: there's a high chance that it has a low value
    >>> value[0, 0] = 0
    >>> # the second bin (0) of the second action is high: there's a high chance that it has an intermediate value
    >>> value[1, 1] = 0
    >>> # the third bin (1) of the third action is high: there's a high chance that it has a high value
    >>> value[2, 2] = 0
    >>> actor(my_action_value=value)
    (tensor(2), tensor([[   0, -100, -100, -100],
            [-100,    0, -100, -100],
            [-100, -100,    0, -100]]))
    >>> actor(value)
    (tensor(2), tensor([[   0, -100, -100, -100],
            [-100,    0, -100, -100],
            [-100, -100,    0, -100]]))
    >>> actor(TensorDict({action_value_key: value}, []))
    TensorDict(batch_size=[], fields={action: i64[], my_action_value: i64[3,4]})
    """

    num_default_outputs = 2
    support: Tensor

    def __init__(
        self,
        action_space: str | TensorSpec | None = None,
        support: Tensor | None = None,
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
        super().__init__(
            action_space, action_value_key, action_mask_key, out_keys, var_nums, spec, safe, strict_shape,
            action_key=action_key,
        )
        self.register_buffer("support", _checked_support(support, self.action_space))

    def choose(self, value: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """The greedy action, the masked log-probabilities and the chosen expected value ``[*B, 1]``."""
        action, _, chosen = super().choose(self.expected(value), mask)
        return action, mask_values(value, None if mask is None else mask.unsqueeze(-2)), chosen

    def expected(self, value: Tensor) -> Tensor:
        """The expected values ``Σ_i exp(log p_i) · z_i`` ``[*B, A]`` of log-probabilities ``[*B, N, A]``.

        Raises:
            ValueError: a positive entry, or not one row per atom.
        """
        if value.ndim < 2 or value.shape[-2] != self.support.shape[-1]:
            raise ValueError(
                f"expected log-probabilities [*B, N, A] with N = {self.support.shape[-1]} atoms at dimension -2, "
                f"got shape {list(value.shape)}"
            )
        _check_log_probs(value)
        probs = value.exp()
        return (probs * self._support_per_action(value.shape[-1]).to(probs)).sum(-2)

    def _support_per_action(self, num_actions: int) -> Tensor:
        """The support as ``[N, 1]``, or ``[N, A]`` if every component has its own."""
        if self.support.ndim == 1:
            return self.support.unsqueeze(-1)
        sizes = (1,) * num_actions if self.action_space == "binary" else self.space.sizes_of(num_actions)
        if len(sizes) != len(self.support):
            raise ValueError(f"expected a support for each of {len(sizes)} components, got {len(self.support)}")
        rows = [row.expand(size, -1) for row, size in zip(self.support, sizes, strict=True)]
        return torch.cat(rows).transpose(0, 1)


class DistributionalDQNnet(TensorDictModuleBase):
    """Log-probabilities over atoms from a network's logits: log-softmax over dimension −2.

    Args:
        network: a plain module that gives the logits ``[*B, N, A]``; None reads the logits themselves.
        in_keys: by default ``["observation"]`` with a network, ``["action_value"]`` without.
        out_keys: where the log-probabilities are written; by default ``["action_value"]``.

    Raises:
        ValueError: logits with fewer than two dimensions.

    >>> DistributionalDQNnet()(torch.zeros(2, 3)).exp()
    tensor([[0.5000, 0.5000, 0.5000],
            [0.5000, 0.5000, 0.5000]])
    """

    def __init__(
        self,
        network: nn.Module | None = None,
        *,
        in_keys: Sequence[NestedKey] | None = None,
        out_keys: Sequence[NestedKey] | None = None,
    ) -> None:
        super().__init__()
        default = ACTION_VALUE if network is None else OBSERVATION
        read: list[Any] = [default] if in_keys is None else list(in_keys)
        written: list[Any] = [ACTION_VALUE] if out_keys is None else list(out_keys)
        self.in_keys, self.out_keys = read, written
        self.network = network

    @dispatch(auto_batch_size=False)
    def forward(self, tensordict: TensorDictBase) -> TensorDictBase:
        """Read observations or logits, write log-probabilities."""
        entries = [required(tensordict, key, "an input of the network") for key in self.in_keys]
        logits = entries[0] if self.network is None else self.network(*entries)
        if logits.ndim < 2:
            raise ValueError(f"expected logits [*B, N, A], atoms at dimension -2, got shape {list(logits.shape)}")
        return tensordict.set(self.out_keys[0], logits.log_softmax(-2))


class DistributionalQValueActor(SafeSequential):
    """A network followed by log-softmax over the atoms and the greedy rule of expected values.

    Args:
        module: gives logits ``[*B, N, A]``; a tensordict module must write them under ``action_value_key``.
        in_keys: the inputs of a plain module; by default ``["observation"]``.
        support: the atoms, as in ``DistributionalQValueModule``, like the other keywords.
        make_log_softmax: False for a network that gives log-probabilities already.

    Raises:
        ValueError: a network whose ``out_shape`` does not have N atoms, or arguments that
            ``DistributionalQValueModule`` refuses.

    >>> from qframe.networks import MLP
    >>> network = MLP(4, (51, 2), num_cells=[16])
    >>> actor = DistributionalQValueActor(network, support=torch.linspace(-1, 1, 51), action_space="one-hot")
    >>> action, log_probs = actor(torch.zeros(3, 4))
    >>> action.shape, log_probs.shape
    (torch.Size([3, 2]), torch.Size([3, 51, 2]))
    """

    def __init__(
        self,
        module: nn.Module,
        in_keys: Sequence[NestedKey] | None = None,
        *,
        support: Tensor,
        spec: TensorSpec | None = None,
        safe: bool = False,
        action_space: str | TensorSpec | None = None,
        var_nums: VarNums | None = None,
        action_value_key: NestedKey | None = None,
        action_mask_key: NestedKey | None = None,
        action_key: NestedKey | None = None,
        out_keys: Sequence[NestedKey] | None = None,
        make_log_softmax: bool = True,
        strict_shape: StrictShape = True,
    ) -> None:
        q_value = DistributionalQValueModule(
            action_space, support, action_value_key, action_mask_key, out_keys, var_nums, spec, safe, strict_shape,
            action_key=action_key,
        )
        _check_width(getattr(module, "out_shape", None), q_value.support)
        key = q_value.action_value_key
        log_softmax = [DistributionalDQNnet(in_keys=[key], out_keys=[key])] if make_log_softmax else []
        super().__init__(value_network(module, in_keys, key), *log_softmax, q_value)

    @property
    def q_value(self) -> DistributionalQValueModule:
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
        """The key of the log-probabilities."""
        return self.q_value.action_value_key

    @property
    def support(self) -> Tensor:
        """The atoms."""
        return self.q_value.support


def _checked_support(support: Tensor | None, action_space: str) -> Tensor:
    joint = action_space not in ("categorical", "one-hot")
    dims = (1, 2) if joint else (1,)
    if not isinstance(support, Tensor) or support.ndim not in dims or not support.numel():
        shape = list(support.shape) if isinstance(support, Tensor) else repr(support)
        per_component = " or [D, N], one row per component" if joint else ""
        raise ValueError(f"expected support to be a tensor [N]{per_component}, got {shape} for {action_space}")
    return support


def _check_width(out_shape: Sequence[int] | None, support: Tensor) -> None:
    if out_shape is not None and (len(out_shape) < 2 or out_shape[-2] != support.shape[-1]):
        raise ValueError(
            f"expected a network with outputs [N, A] for the N = {support.shape[-1]} atoms of the support, "
            f"got {list(out_shape)}"
        )


def _check_log_probs(value: Tensor) -> None:
    """Refuse positive log-probabilities where the check is possible without synchronising with a device."""
    if value.device.type == "cpu" and is_readable(value) and bool((value > 0).any()):
        raise ValueError(
            f"expected log-probabilities, all ≤ 0, got a greatest entry of {value.max().item():.4g}; "
            "apply log_softmax over dimension -2 first"
        )
