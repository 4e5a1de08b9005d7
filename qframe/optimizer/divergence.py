"""Training that leads to numbers that are not finite."""

from torch import nn

from qframe.errors import RunError


class Diverged(RunError):
    """Training led to numbers that are not finite: the settings are at fault, mostly the learning rate."""


def diverged(updates: int, found: str) -> Diverged:
    """The error in words.

    >>> diverged(1000, "expected a finite loss, got nan")
    Diverged('training diverged within 1,000 updates: expected a finite loss, got nan; lower optimizer.lr')
    """
    return Diverged(f"training diverged within {updates:,} updates: {found}; lower optimizer.lr")


def check_finite(part: nn.Module, updates: int) -> None:
    """What a checkpoint is to hold has not diverged.

    Raises:
        Diverged: a parameter is not finite.
    """
    for name, parameter in part.named_parameters():
        if not parameter.isfinite().all():
            raise diverged(updates, f"expected finite parameters, got others in {name}")
