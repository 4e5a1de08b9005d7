"""The number of cases and the largest difference of each part compared."""

from typing import Any

import torch

TOLERANCE = 2e-5
"""Relative to the larger of 1 and the greatest finite number compared; float32 sums in another order differ so much."""


class Record:
    """Counts cases and remembers the largest difference of each part."""

    def __init__(self) -> None:
        self.cases: dict[str, int] = {}
        self.largest: dict[str, float] = {}

    def compare(self, part: str, got: Any, expected: Any, cases: int = 1) -> None:
        """Add two tensors, or values that convert to tensors, that should be equal; a wrong shape differs by ∞."""
        got, expected = torch.as_tensor(got).detach(), torch.as_tensor(expected).detach()
        self.cases[part] = self.cases.get(part, 0) + cases
        self.largest[part] = max(self.largest.get(part, 0.0), _difference(got.double(), expected.double()))

    def same(self, part: str, got: Any, expected: Any) -> None:
        """Add two values that should be equal, such as keys, shapes or names."""
        self.cases[part] = self.cases.get(part, 0) + 1
        if got != expected:
            print(f"  {part}: got {got}, the reference has {expected}")
        self.largest[part] = max(self.largest.get(part, 0.0), 0.0 if got == expected else float("inf"))

    def report(self) -> bool:
        """Print the table; returns whether all parts agree."""
        for part, cases in self.cases.items():
            verdict = "ok" if self.largest[part] <= TOLERANCE else "DIFFERS"
            print(f"{verdict:8}{part:64}{cases:>8} cases   largest difference {self.largest[part]:.1e}")
        return all(largest <= TOLERANCE for largest in self.largest.values())


def _difference(got: torch.Tensor, expected: torch.Tensor) -> float:
    if got.shape != expected.shape:
        print(f"  shapes differ: {list(got.shape)} and {list(expected.shape)}")
        return float("inf")
    equal = (got == expected) | (got.isnan() & expected.isnan())
    if bool(equal.all()):
        return 0.0
    scale = max(1.0, float(expected[expected.isfinite()].abs().max()))
    apart = (got - expected)[~equal].abs().max() / scale
    return float(apart.nan_to_num(nan=float("inf")))
