"""Policies and values as tensordict modules: deterministic, stochastic, and state(-action) values."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from tensordict import TensorDictBase
from tensordict.nn import (
    InteractionType,
    ProbabilisticTensorDictModule,
    ProbabilisticTensorDictSequential,
    TensorDictModuleBase,
)
from torch import Tensor, nn

from qframe.actions.specs.base import TensorSpec
from qframe.keys import ACTION, OBSERVATION, SAMPLE_LOG_PROB, STATE_ACTION_VALUE, STATE_VALUE, NestedKey
from qframe.modules.safe import SafeModule, project_outputs, safe_specs


class Actor(SafeModule):
    """A policy: ``observation`` → ``action``. Outputs beyond its ``out_keys`` are dropped.

    Args:
        module: returns the action, and any further ``out_keys``.
        in_keys: by default ``["observation"]``.
        out_keys: by default ``["action"]``.
        spec: the action's spec.
        safe: project actions outside the spec into it.

    >>> import torch
    >>> Actor(torch.nn.Linear(4, 2))(torch.zeros(3, 4)).shape
    torch.Size([3, 2])
    """

    def __init__(
        self,
        module: nn.Module | Callable[..., Any],
        in_keys: Sequence[NestedKey] | None = None,
        out_keys: Sequence[NestedKey] | None = None,
        *,
        spec: TensorSpec | None = None,
        safe: bool = False,
        **kwargs: Any,
    ) -> None:
        in_keys = [OBSERVATION] if in_keys is None else in_keys
        out_keys = [ACTION] if out_keys is None else out_keys
        super().__init__(module, in_keys, out_keys, spec=spec, safe=safe, **kwargs)

    def _write_to_tensordict(
        self, tensordict: TensorDictBase, tensors: Sequence[Tensor], *args: Any, **kwargs: Any
    ) -> TensorDictBase:
        kept = list(tensors[: len(self.out_keys_source)])
        return super()._write_to_tensordict(tensordict, kept, *args, **kwargs)


class ProbabilisticActor(ProbabilisticTensorDictSequential):
    """A stochastic policy: a module that gives a distribution's parameters, and an action from the distribution.

    ``set_exploration_type`` decides whether the action is a sample, the mode or the mean.

    Args:
        module: a tensordict module that writes the parameters.
        in_keys: the parameters, whose last names are the distribution's arguments.
        out_keys: by default ``["action"]``.
        spec: the action's spec.
        safe: project actions outside the spec into it.
        distribution_class: built from the parameters.
        distribution_kwargs: further arguments of the distribution.
        return_log_prob: write the log-probability of the action too.
        log_prob_key: its key; None is ``sample_log_prob``.
        default_interaction_type: the choice of action if no exploration type is set.
        generator: of the samples; None uses torch's default one.

    >>> from torch.distributions import Categorical
    >>> logits = SafeModule(nn.Linear(4, 2), in_keys=["observation"], out_keys=["logits"])
    >>> actor = ProbabilisticActor(logits, in_keys=["logits"], distribution_class=Categorical, return_log_prob=True)
    >>> actor.out_keys
    ['logits', 'action', 'sample_log_prob']
    """

    def __init__(
        self,
        module: TensorDictModuleBase,
        in_keys: Sequence[NestedKey] | dict[str, NestedKey],
        out_keys: Sequence[NestedKey] | None = None,
        *,
        distribution_class: Callable[..., torch.distributions.Distribution],
        spec: TensorSpec | None = None,
        safe: bool = False,
        distribution_kwargs: dict[str, Any] | None = None,
        return_log_prob: bool = False,
        log_prob_key: NestedKey | None = None,
        default_interaction_type: InteractionType | str = InteractionType.DETERMINISTIC,
        generator: torch.Generator | None = None,
    ) -> None:
        parameters: Any = in_keys if isinstance(in_keys, dict) else list(in_keys)
        written: list[Any] = [ACTION] if out_keys is None else list(out_keys)
        sampler = ProbabilisticTensorDictModule(
            in_keys=parameters,
            out_keys=written,
            distribution_class=distribution_class,  # pyright: ignore[reportArgumentType] - any callable will do
            distribution_kwargs=distribution_kwargs,
            return_log_prob=return_log_prob,
            log_prob_key=SAMPLE_LOG_PROB if log_prob_key is None else log_prob_key,
            default_interaction_type=InteractionType(default_interaction_type),
            generator=generator,
        )
        super().__init__(module, sampler)
        self.spec = spec
        self.safe = safe
        self._projected = safe_specs(spec, written) if safe else {}

    def forward(self, *args: Any, **kwargs: Any) -> Any:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Parameters and action, projected if ``safe`` is set."""
        return project_outputs(super().forward(*args, **kwargs), self._projected, self.out_keys)


class ValueOperator(SafeModule):
    """A value: ``observation`` → ``state_value``, or with ``action`` among its inputs → ``state_action_value``.

    Args:
        module: gives the value ``[*B, 1]``.
        in_keys: by default ``["observation"]``.
        out_keys: by default ``["state_value"]``, or ``["state_action_value"]`` if an action is read.

    >>> ValueOperator(nn.Linear(4, 1)).out_keys
    ['state_value']
    >>> ValueOperator(nn.Bilinear(4, 2, 1), in_keys=["observation", "action"]).out_keys
    ['state_action_value']
    """

    def __init__(
        self,
        module: nn.Module | Callable[..., Any],
        in_keys: Sequence[NestedKey] | None = None,
        out_keys: Sequence[NestedKey] | None = None,
        **kwargs: Any,
    ) -> None:
        in_keys = [OBSERVATION] if in_keys is None else in_keys
        if out_keys is None:
            out_keys = [STATE_ACTION_VALUE if ACTION in in_keys else STATE_VALUE]
        super().__init__(module, in_keys, out_keys, **kwargs)
