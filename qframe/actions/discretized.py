"""Box actions in bins: each dimension is a choice among a few of its values."""

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from gymnasium import Space, spaces
from numpy.typing import NDArray

from qframe.actions.action_space import ActionSpace
from qframe.actions.gymnasium_spaces import ENUMERATED, make_action_space

SCHEMES = ("ends", "centres")


def make_discretized_space(
    space: Space[Any],
    *,
    bins: int | Sequence[int],
    scheme: Literal["ends", "centres"] = "ends",
    encoding: str = "auto",
    joint: Literal["branching", "sum", "mean"] = "mean",
    max_enumerated: int | None = None,
) -> ActionSpace:
    """The action space of Box actions whose every dimension takes a few evenly spaced values.

    See "Solving Continuous Control via Q-learning", Seyde et al., 2023 (DecQN), where ``joint`` is the mean; and "Is
    Bang-Bang Control All You Need?", Seyde et al., 2021, for two values at the ends.

    Args:
        space: the environment's action space, a Box with finite bounds.
        bins: the number of values, one for all dimensions or one for each.
        scheme: ``ends``, from the lower to the upper bound, both included; or ``centres`` of equal intervals.
        encoding: ``auto`` (one choice for one dimension, else branches, unless ``joint`` is ``branching`` and there are
            few combinations), ``enumerated`` or an encoding of MultiDiscrete spaces.
        joint: how dimensions are trained together: ``branching``, ``sum`` or ``mean``.
        max_enumerated: the largest number of joint actions to enumerate; None is 64 for ``auto``, else 1024.

    Raises:
        ValueError: another space, bounds that are not finite, too few bins, or bins of no such number of dimensions.

    >>> make_discretized_space(spaces.Box(-2.0, 2.0, (1,)), bins=3).values
    ((-2.0, 0.0, 2.0),)
    >>> make_discretized_space(spaces.Box(-2.0, 2.0, (1,)), bins=2, scheme="centres").values
    ((-1.0, 1.0),)
    """
    if not isinstance(space, spaces.Box):
        raise ValueError(f"action_space=discretized is for Box actions, not {space}; use action_space=auto")
    if scheme not in SCHEMES:
        raise ValueError(f"expected scheme to be one of {', '.join(SCHEMES)}, got {scheme!r}")
    if not space.is_bounded():
        raise ValueError(
            f"the actions {space} have no finite bounds to divide; bound them by env.wrappers="
            "[{_target_: qframe.envs.BoundAction, low: -1, high: 1}]"
        )
    dimensions = int(np.prod(space.shape))
    numbers = [bins] * dimensions if isinstance(bins, int) else list(bins)
    if len(numbers) != dimensions or min(numbers, default=0) < (2 if scheme == "ends" else 1):
        least = "2, the two ends" if scheme == "ends" else "1"
        raise ValueError(
            f"expected bins to be one number for all {dimensions} dimensions of {space} or one for each, "
            f"each at least {least}, got {bins}"
        )
    bounds = zip(space.low.ravel().tolist(), space.high.ravel().tolist(), numbers, strict=True)
    values = tuple(tuple(_spaced(*bound, scheme, space.dtype).tolist()) for bound in bounds)
    if any(len(set(of_one)) < len(of_one) for of_one in values):
        raise ValueError(f"{space} has fewer values than bins={bins}; lower action_space.bins")
    choices = spaces.MultiDiscrete(np.array(numbers))
    if encoding == "auto" and dimensions == 1:
        encoding = ENUMERATED
    found = make_action_space(choices, encoding=encoding, joint=joint, max_enumerated=max_enumerated)
    return ActionSpace(
        found.encoding, found.sizes, joint=found.joint, factors=found.factors, values=values, shape=space.shape,
        dtype=space.dtype,
    )  # fmt: skip


def _spaced(low: float, high: float, number: int, scheme: str, dtype: Any) -> NDArray[Any]:
    """Evenly spaced values of one dimension, ascending; whole numbers for a Box of these."""
    centres = low + (np.arange(number) + 0.5) * (high - low) / number
    values = np.linspace(low, high, number) if scheme == "ends" else centres
    return (np.round(values) if np.issubdtype(dtype, np.integer) else values).astype(dtype)
