"""Small parts that a config of the tests names, as a user's own package would hold them."""

from collections.abc import Callable, Mapping, Sequence
from enum import Enum
from typing import Any, Literal

import torch
from torch import nn


class Mode(Enum):
    FAST = 1
    SLOW = 2


class Part:
    """Takes a cadence, and nothing that matters."""

    def __init__(self, every: int = 10) -> None:
        self.every = every


class Env:
    def __init__(self, id: str, num_envs: int = 1, kwargs: Mapping[str, Any] | None = None) -> None:
        if num_envs < 1:
            raise ValueError(f"expected at least one environment, got {num_envs}")
        self.id, self.num_envs, self.kwargs = id, num_envs, kwargs

    @classmethod
    def from_name(cls, name: str) -> "Env":
        return cls(name)


class Trunk:
    def __init__(self, sizes: Sequence[int] = (8,), activation: type[nn.Module] = nn.ReLU) -> None:
        self.sizes, self.activation = sizes, activation


class DeepTrunk(Trunk):
    def __init__(self, depth: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.depth = depth


class Net:
    def __init__(self, trunk: Trunk, dropout: float = 0.0, features: int = 0) -> None:
        self.trunk, self.dropout, self.features = trunk, dropout, features


class Head:
    def __init__(
        self,
        num_actions: int,
        *,
        kind: Literal["a", "b", "both"] = "a",
        bias: bool = True,
        mode: Mode | str = "FAST",
        limit: int | None = None,
    ) -> None:
        self.num_actions, self.kind, self.bias, self.mode, self.limit = num_actions, kind, bias, mode, limit


class Optimizer:
    def __init__(
        self,
        algorithm: Callable[..., torch.optim.Optimizer],
        betas: tuple[float, float] = (0.9, 0.999),
        names: dict[str, int] | None = None,
    ) -> None:
        self.algorithm, self.betas, self.names = algorithm, betas, names
