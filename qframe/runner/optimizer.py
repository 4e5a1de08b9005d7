"""The optimizer as a choice: any of torch's, with a gradient clip and a learning-rate schedule over the run."""

import math
from collections.abc import Callable, Iterable
from typing import Any, Literal

import torch
from torch import Tensor, nn

_SCHEDULES: dict[str, Callable[[float], float]] = {
    "constant": lambda fraction: 1.0,
    "linear": lambda fraction: 1.0 - fraction,
    "cosine": lambda fraction: 0.5 * (1.0 + math.cos(math.pi * fraction)),
}


class Optimizer:
    """One gradient step: backward, clip by global norm, step.

    Args:
        parameters: what to optimize; those that need no gradient are left out.
        algorithm: builds the torch optimizer from ``(parameters, lr=…)``.
        lr: learning rate at the start.
        lr_schedule: ``constant``, ``linear`` (to 0 at the run's end) or ``cosine`` (to 0).
        max_grad_norm: gradients are scaled down to this global L2 norm; None leaves them.

    Raises:
        ValueError: a learning rate or a norm that is not positive, or an unknown schedule.
    """

    def __init__(
        self,
        parameters: Iterable[nn.Parameter],
        algorithm: Callable[..., torch.optim.Optimizer],
        *,
        lr: float,
        lr_schedule: Literal["constant", "linear", "cosine"] = "constant",
        max_grad_norm: float | None = None,
    ) -> None:
        if not lr > 0:
            raise ValueError(f"expected lr above 0, got {lr}")
        if lr_schedule not in _SCHEDULES:
            raise ValueError(f"expected lr_schedule to be one of {', '.join(_SCHEDULES)}, got {lr_schedule!r}")
        if max_grad_norm is not None and not max_grad_norm > 0:
            raise ValueError(f"expected max_grad_norm above 0 or null, got {max_grad_norm}")
        self._parameters = [parameter for parameter in parameters if parameter.requires_grad]
        self._optimizer = algorithm(self._parameters, lr=lr)
        self._initial_lr = lr
        self._factor = _SCHEDULES[lr_schedule]
        self._max_grad_norm = max_grad_norm

    @property
    def lr(self) -> float:
        """The present learning rate."""
        return self._optimizer.param_groups[0]["lr"]

    def anneal(self, fraction: float) -> None:
        """Set the learning rate for this fraction of the run, in closed form."""
        lr = self._initial_lr * self._factor(min(1.0, fraction))
        for group in self._optimizer.param_groups:
            group["lr"] = lr

    def minimize(self, loss: Tensor) -> Tensor | None:
        """Take one step down the gradient of ``loss`` ``[]``.

        Returns:
            The global norm of the gradient before clipping, ``[]``, or None without a clip.
        """
        self._optimizer.zero_grad()
        loss.backward()
        norm = None
        if self._max_grad_norm is not None:
            norm = nn.utils.clip_grad_norm_(self._parameters, self._max_grad_norm)
        self._optimizer.step()
        return norm

    def state_dict(self) -> dict[str, Any]:
        """The torch optimizer's state."""
        return self._optimizer.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from ``state``."""
        self._optimizer.load_state_dict(state)
