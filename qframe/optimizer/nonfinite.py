"""Updates whose loss or gradient is not finite: they end the run as diverged or, by choice, are skipped and counted.

Skipping never waits for the device: parameters and moments are selected, not branched on.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn, optim

from qframe.errors import RunError

SKIPPED = "skipped"
MOST_IN_A_ROW = 100
"""The number of updates skipped in a row that ends a run."""


class Diverged(RunError):
    """Training produced numbers that are not finite, usually because the learning rate is too high."""


def diverged(updates: int, found: str) -> Diverged:
    """The error after this many updates.

    >>> diverged(1000, "the loss is nan")
    Diverged('training diverged within 1,000 updates: the loss is nan; lower optimizer.lr')
    """
    return Diverged(f"training diverged within {updates:,} updates: {found}; lower optimizer.lr")


def check_finite(part: nn.Module, updates: int) -> None:
    """Check parameters before they are saved.

    Raises:
        Diverged: a parameter is not finite.
    """
    for name, parameter in part.named_parameters():
        if not parameter.isfinite().all():
            raise diverged(updates, f"parameter {name} is not finite")


def means_skipping(nonfinite: str) -> bool:
    """Whether updates that are not finite are skipped.

    Raises:
        ValueError: neither ``stop`` nor ``skip``.
    """
    if nonfinite not in ("stop", "skip"):
        raise ValueError(f"expected nonfinite to be stop or skip, got {nonfinite!r}")
    return nonfinite == "skip"


def is_sound(metrics: dict[str, Tensor]) -> Tensor:
    """Whether the loss and the gradient of an update are finite, bool ``[]``."""
    return metrics["loss"].detach().isfinite() & metrics["grad_norm"].isfinite()


def without_skipped(metrics: dict[str, Tensor]) -> dict[str, Tensor]:
    """The metrics of an update with ``skipped``, which is 1, with all others 0, if the update is skipped, else 0.

    >>> without_skipped({"loss": torch.tensor(torch.nan), "grad_norm": torch.tensor(1.0)})
    {'loss': tensor(0.), 'grad_norm': tensor(0.), 'skipped': tensor(1.)}
    """
    sound = is_sound(metrics)
    kept = {name: torch.where(sound, value.detach(), torch.zeros_like(value)) for name, value in metrics.items()}
    return kept | {SKIPPED: (~sound).to(metrics["loss"].dtype)}


@torch.no_grad()
def step_where_sound(
    optimizer: optim.Optimizer, parameters: Sequence[nn.Parameter], loss: Tensor, norm: Tensor | None
) -> Tensor:
    """Take a step; if the loss or the gradient is not finite, parameters and moments keep their values.

    Args:
        optimizer: takes the step.
        parameters: all its parameters, with their gradients.
        loss: ``[]``.
        norm: the global norm of the gradient, ``[]``; None computes it here.

    Returns:
        The global norm of the gradient, ``[]``.
    """
    if norm is None:
        norm = nn.utils.get_total_norm([x.grad for x in parameters if x.grad is not None])
    sound = is_sound({"loss": loss, "grad_norm": norm})
    if not optimizer.state:  # the first step has no moments to keep; only it waits for the device
        if sound:
            optimizer.step()
        return norm
    before = [tensor.clone() for tensor in _changed(optimizer, parameters)]
    optimizer.step()
    for tensor, kept in zip(_changed(optimizer, parameters), before, strict=True):
        tensor.copy_(torch.where(sound.to(tensor.device), tensor, kept))
    return norm


def _changed(optimizer: optim.Optimizer, parameters: Sequence[nn.Parameter]) -> Iterator[Tensor]:
    """The tensors that a step changes."""
    yield from parameters
    for state in optimizer.state.values():
        yield from (value for value in state.values() if isinstance(value, Tensor))


class SkippedUpdates:
    """Counts skipped updates, from one log to the next.

    >>> skipped = SkippedUpdates()
    >>> skipped.take({"skipped": torch.tensor(3.0)}, of=50, updates=50)
    3
    >>> skipped.take({"skipped": torch.tensor(60.0)}, of=60, updates=110)
    60
    >>> skipped.take({"skipped": torch.tensor(60.0)}, of=60, updates=170)
    Traceback (most recent call last):
    qframe.optimizer.nonfinite.Diverged: training diverged within 170 updates: none of the last 120 updates had a
    finite loss and gradient; lower optimizer.lr
    """

    def __init__(self) -> None:
        self.total = 0
        self._in_a_row = 0

    def take(self, sums: dict[str, Tensor], *, of: int, updates: int) -> int:
        """Remove the number of skipped updates from summed metrics.

        Args:
            sums: metrics summed over the updates since the last log, with ``skipped`` if updates may be skipped.
            of: number of updates since the last log.
            updates: number of updates in the run so far.

        Returns:
            The number of skipped updates since the last log.

        Raises:
            Diverged: too many updates in a row were skipped.
        """
        skipped = int(sums.pop(SKIPPED, 0))
        self.total += skipped
        self._in_a_row = self._in_a_row + of if skipped == of else 0
        if self._in_a_row >= MOST_IN_A_ROW:
            found = f"none of the last {self._in_a_row:,} updates had a finite loss and gradient"
            raise diverged(updates, found)
        return skipped

    def state_dict(self) -> dict[str, Any]:
        """The counts."""
        return {"total": self.total, "in_a_row": self._in_a_row}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Resume from ``state``."""
        self.total, self._in_a_row = state.get("total", 0), state.get("in_a_row", 0)
