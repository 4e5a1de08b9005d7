"""Whole numbers as people write them: 1000000, 1_000_000, 1e6, 50k, 1M."""

import re
from decimal import Decimal

WRITTEN = re.compile(r"([+-]?\d[\d_]*(?:\.\d+)?(?:[eE][+]?\d{1,3})?)([kKM]?)")
SUFFIX = {"": 1, "k": 1_000, "K": 1_000, "M": 1_000_000}


def integer(value: object) -> int | None:
    """The integer that ``value`` stands for, or None if it is not one. True and False are not numbers.

    >>> [integer(x) for x in (3, 1e6, "1M", "50k", "1.5M", "1_000_000", "1e6")]
    [3, 1000000, 1000000, 50000, 1500000, 1000000, 1000000]
    >>> [integer(x) for x in (1.5, True, "0.5", "many", None, float("inf"))]
    [None, None, None, None, None, None]
    """
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return value
    if isinstance(value, float):
        return int(value) if value.is_integer() else None
    written = WRITTEN.fullmatch(value.strip()) if isinstance(value, str) else None
    if written is None:
        return None
    number = Decimal(written[1].replace("_", "")) * SUFFIX[written[2]]
    return int(number) if number == number.to_integral_value() else None
