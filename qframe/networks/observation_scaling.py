"""The scale of observations: bytes that use their whole range become [0, 1], all other numbers keep their values."""

from typing import Any

import numpy as np
import torch
from gymnasium import Space, spaces
from torch import Tensor

BYTE = 255.0
"""The largest byte."""


def byte_divisor(space: Space[Any]) -> float:
    """The number by which a network divides the bytes of a space: 255 if their bounds are 0 and 255, else 1.

    >>> byte_divisor(spaces.Box(0, 255, (84, 84), np.uint8)), byte_divisor(spaces.Box(0, 1, (5, 5), np.uint8))
    (255.0, 1.0)
    """
    if not isinstance(space, spaces.Box) or space.dtype != np.uint8:
        return 1.0
    return BYTE if (space.low == 0).all() and (space.high == BYTE).all() else 1.0


def has_integer_bounds(space: Space[Any]) -> bool:
    """Whether a space holds integers between bounds of its own, not those of its type (bytes aside).

    >>> has_integer_bounds(spaces.Box(-5, 20, (3,), np.int64)), has_integer_bounds(spaces.Box(0, 65535, (), np.uint16))
    (True, False)
    """
    if not isinstance(space, spaces.Box) or space.dtype.kind not in "iu":
        return False
    limits = np.iinfo(space.dtype)
    is_inside = space.dtype.itemsize == 1 or bool(((space.low > limits.min) & (space.high < limits.max)).all())
    is_unsigned_inside = space.dtype.kind == "u" and bool((space.high < limits.max).all())
    return (is_inside or is_unsigned_inside) and bool((space.high > space.low).all())


def as_floats(observation: Tensor, divisor: float, dtype: torch.dtype | None = None) -> Tensor:
    """An observation as floats, its bytes divided by ``divisor``; floats keep their values: they were scaled before.

    >>> as_floats(torch.tensor([255, 51], dtype=torch.uint8), 255.0), as_floats(torch.tensor([True]), 255.0)
    (tensor([1.0000, 0.2000]), tensor([1.]))
    """
    floats = observation.to(torch.get_default_dtype() if dtype is None else dtype)
    return floats / divisor if observation.dtype is torch.uint8 and divisor != 1 else floats


def scaled_entries(space: Space[Any], path: str = "observation") -> list[str]:
    """The entries of an observation whose bytes are scaled to [0, 1], by their dotted path.

    >>> ram, grid = spaces.Box(0, 255, (8,), np.uint8), spaces.Box(0, 1, (5,), np.uint8)
    >>> scaled_entries(spaces.Dict({"ram": ram, "grid": grid}))
    ['observation.ram']
    """
    if isinstance(space, spaces.Dict):
        return [found for key, entry in space.items() for found in scaled_entries(entry, f"{path}.{key}")]
    if isinstance(space, spaces.Tuple):
        return [found for key, entry in enumerate(space) for found in scaled_entries(entry, f"{path}.{key}")]
    return [path] if byte_divisor(space) != 1 else []
