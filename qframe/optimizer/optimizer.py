"""The gradient step: backward, clip by global norm, step, and the schedule of the learning rate."""

import math
from collections.abc import Callable, Iterable
from typing import Any, Literal

import torch
from torch import Tensor, nn

from qframe.optimizer.flat_vector import MOVED, FlatVector
from qframe.optimizer.nonfinite import means_skipping, step_where_sound
from qframe.optimizer.pure_steps import ELEMENTWISE, first_state
from qframe.optimizer.state import of_all, of_each, take_over

_SCHEDULES: dict[str, Callable[[float], float]] = {
    "constant": lambda fraction: 1.0,
    "linear": lambda fraction: 1.0 - fraction,
    "cosine": lambda fraction: 0.5 * (1.0 + math.cos(math.pi * fraction)),
}


class Optimizer:
    """One gradient step: backward, clip by global norm, step.

    If the algorithm works elementwise, parameters become views of one vector, and so do their gradients: a
    step is then one operation for any number of parameters.

    Args:
        parameters: the parameters to optimize, on their final device; those that need no gradient are ignored.
        algorithm: builds the torch optimizer from ``(parameters, lr=…)``.
        lr: learning rate at the start.
        lr_schedule: ``constant``, ``linear`` (to 0 at the run's end) or ``cosine`` (to 0).
        max_grad_norm: global L2 norm to which larger gradients are scaled down; None leaves them.
        nonfinite: at a loss or gradient that is not finite, the run stops when it next logs or saves (``stop``), or the
            update is skipped and counted (``skip``).

    Raises:
        ValueError: a learning rate or a norm that is not positive, an unknown schedule, an unknown ``nonfinite``, or
            an algorithm that cannot take a step on plain gradients.
    """

    def __init__(
        self,
        parameters: Iterable[nn.Parameter],
        algorithm: Callable[..., torch.optim.Optimizer],
        *,
        lr: float,
        lr_schedule: Literal["constant", "linear", "cosine"] = "constant",
        max_grad_norm: float | None = None,
        nonfinite: Literal["stop", "skip"] = "stop",
    ) -> None:
        if not lr > 0:
            raise ValueError(f"expected lr above 0, got {lr}")
        if lr_schedule not in _SCHEDULES:
            raise ValueError(f"expected lr_schedule to be one of {', '.join(_SCHEDULES)}, got {lr_schedule!r}")
        if max_grad_norm is not None and not max_grad_norm > 0:
            raise ValueError(f"expected max_grad_norm above 0 or null, got {max_grad_norm}")
        self._learning = [parameter for parameter in parameters if parameter.requires_grad]
        self.wrapped = algorithm(self._learning, lr=lr)
        if type(self.wrapped) not in ELEMENTWISE:  # these are known to
            _check_steps(algorithm, lr)
        self.flat: FlatVector | None = None
        self._parameters, self._gradients = self._learning, []
        if type(self.wrapped) in ELEMENTWISE and FlatVector.fits(self._learning):
            self.flat = FlatVector(self._learning)
            self._parameters = [nn.Parameter(self.flat.vector)]
            self._parameters[0].grad = torch.zeros_like(self.flat.vector)
            self._gradients = self.flat.views(self._parameters[0].grad)
            self.wrapped = algorithm(self._parameters, lr=lr)
        self.reduce: Callable[[Tensor, Tensor], object] | None = None
        """Called with the vector of the gradient, which it may change, and the loss, before the gradient is clipped."""
        self._initial_lr = lr
        self._factor = _SCHEDULES[lr_schedule]
        self.max_grad_norm, self.skips = max_grad_norm, means_skipping(nonfinite)

    @property
    def lr(self) -> float:
        """The current learning rate."""
        return self.wrapped.param_groups[0]["lr"]

    def anneal(self, fraction: float) -> None:
        """Set the learning rate by the fraction of the run that is done, in [0, 1]."""
        lr = self._initial_lr * self._factor(min(1.0, fraction))
        for group in self.wrapped.param_groups:
            group["lr"] = lr

    def minimize(self, loss: Tensor) -> Tensor | None:
        """Take one step down the gradient of ``loss`` ``[]``.

        Returns:
            The global norm of the gradient before clipping, ``[]``; None if gradients are neither clipped nor checked.
        """
        if self.flat is not None and not self.flat.follow():
            raise ValueError(MOVED)
        self.wrapped.zero_grad(set_to_none=not self._gradients)
        if self._gradients and self._learning[0].grad is not self._gradients[0]:
            for parameter, gradient in zip(self._learning, self._gradients, strict=True):
                parameter.grad = gradient
        loss.backward()
        if self.reduce is not None:
            assert self._parameters[0].grad is not None
            self.reduce(self._parameters[0].grad, loss)
        norm = None
        if self.max_grad_norm is not None:
            norm = nn.utils.clip_grad_norm_(self._parameters, self.max_grad_norm)
        if self.skips:
            return step_where_sound(self.wrapped, self._parameters, loss, norm)
        self.wrapped.step()
        return norm

    def tensors(self) -> dict[str, Tensor]:
        """The optimizer's state for the vector of all parameters; a compiled update changes it in place."""
        (parameter,) = self._parameters
        state = self.wrapped.state[parameter] or first_state(self.wrapped, parameter.detach())
        if "step" in state:  # torch loads it to the CPU
            state["step"] = state["step"].to(parameter.device)
        self.wrapped.state[parameter] = state
        return state

    def state_dict(self) -> dict[str, Any]:
        """The torch optimizer's state, for each parameter."""
        state = self.wrapped.state_dict()
        return state if self.flat is None else of_each(state, self.flat)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Resume from ``state``."""
        take_over(state if self.flat is None else of_all(state, self.flat), self.wrapped)


def _check_steps(algorithm: Callable[..., torch.optim.Optimizer], lr: float) -> None:
    """Check that an algorithm takes a step without evaluating the loss again, and on dense gradients."""
    parameter = nn.Parameter(torch.zeros(1, 1))
    parameter.grad = torch.ones(1, 1)
    tried = algorithm([parameter], lr=lr)
    try:
        tried.step()
    except (TypeError, RuntimeError) as refused:
        name = getattr(getattr(algorithm, "func", algorithm), "__name__", "the algorithm")
        reason = "its step evaluates the loss again" if "closure" in str(refused) else str(refused)
        raise ValueError(f"{name} cannot step on the gradient of a batch: {reason}; use optimizer=adam") from refused
