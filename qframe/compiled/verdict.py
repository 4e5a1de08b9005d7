"""Compares compiled code with the function that it was compiled from; the verdict is kept beside the library.

A compiler's faults are silent: torch 2.13 gave right losses with wrong gradients.
"""

import contextlib
import json
import math
import operator
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, fx
from torch.utils import _pytree as pytree

SHAKES = 2
"""Runs of the function on shaken parameters, to measure the effect of rounding errors."""
MARGIN = 10.0
"""Compiled code may be this many times as far from the function as such a run is."""

TINY = 1e-12
"""A norm that is as good as zero."""


class Precision(NamedTuple):
    """The allowed distance of compiled code from the function, and the shake of parameters, both relative."""

    tolerance: float
    shake: float


EXACT = Precision(tolerance=1e-4, shake=1e-6)
"""For floats of 32 bits or more."""
COARSE = Precision(tolerance=0.1, shake=2e-3)
"""For floats of 16 bits, and on a GPU, whose libraries may round to the 11 bits of TF32."""


class Verdict(NamedTuple):
    """The result of a comparison."""

    agrees: bool
    difference: float
    """The relative difference of the tensor that comes closest to its tolerance, or exceeds it by most."""
    tolerance: float

    def write(self, file: Path, library: str) -> None:
        """Keep it for the library of this name; if it cannot be written, the next run compares again."""
        entry = {"library": library, "torch": torch.__version__, **self._asdict()}
        new = file.with_name(f"{file.name}.{os.getpid()}")
        with contextlib.suppress(OSError):
            new.write_text(json.dumps(entry) + "\n")
            os.replace(new, file)

    @classmethod
    def read(cls, file: Path, library: str | None = None) -> "Verdict | None":
        """The verdict on a library, or on the one compiled last; None if there is none, or it is damaged."""
        try:
            entry = json.loads(file.read_text())
            verdict = cls(bool(entry["agrees"]), float(entry["difference"]), float(entry["tolerance"]))
            return verdict if library in (None, entry["library"]) else None
        except (OSError, ValueError, KeyError, TypeError):
            return None


class Comparison:
    """Compares compiled code with the function it was compiled from, on copies of the inputs of one call.

    All outputs, and the changes of all inputs that are written to, are compared tensor by tensor, by the norm of the
    difference. It may reach ``tolerance`` times the tensor's norm plus ten times the effect of rounding, which two more
    runs of the function with shaken parameters measure. Adam's first step, for example, is ±lr by the sign of the
    gradient, even if the gradient is only rounding error.

    Args:
        name: of the function, for warnings.
        parameters: the number of inputs, the first ones, that are shaken, which changes their last bits.
        split: splits a tensor into the tensors that it stands for.
    """

    def __init__(
        self,
        name: str = "a function",
        *,
        parameters: int = 0,
        split: Callable[[Tensor], Sequence[Tensor]] = lambda tensor: [tensor],
    ) -> None:
        self.name, self._parameters, self._split = name, parameters, split

    def __call__(
        self,
        function: Callable[..., Any],
        compiled: Callable[[list[Tensor]], Any],
        inputs: Sequence[Tensor],
        graph: fx.GraphModule,
    ) -> Verdict:
        """Compare; inputs and the state of random generators stay as they are.

        Args:
            function: takes the inputs one by one.
            compiled: takes a list of them.
            inputs: of a real call.
            graph: of the function.
        """
        precision, is_written = precision_of(graph), written(graph)

        def outcome(act: Callable[[list[Tensor]], Any], given: Sequence[Tensor]) -> list[Tensor]:
            own = [tensor.clone() if writes else tensor for tensor, writes in zip(given, is_written, strict=True)]
            with torch.random.fork_rng(sorted({tensor.device.index for tensor in own if tensor.is_cuda})):
                outputs = pytree.tree_leaves(act(own))
            pairs = zip(own, given, is_written, strict=True)
            return [*outputs, *(after.double() - before.double() for after, before, writes in pairs if writes)]

        right = outcome(lambda own: function(*own), inputs)
        shaken = [outcome(lambda own: function(*own), self._shaken(inputs, precision, k)) for k in range(SHAKES)]
        found = outcome(compiled, inputs)
        tensors = zip(right, found, *shaken, strict=True)
        shares = [share for each in tensors for share in self._shares(each, precision.tolerance)]
        share, difference = max(shares, default=(0.0, 0.0))
        return Verdict(share <= 1.0, difference, precision.tolerance)

    def _shaken(self, inputs: Sequence[Tensor], precision: Precision, seed: int) -> list[Tensor]:
        """The inputs, parameters a little larger or smaller."""
        generator, shaken = torch.Generator().manual_seed(seed), list(inputs)
        for place, parameter in enumerate(inputs[: self._parameters]):
            sign = 2 * torch.randint(2, parameter.shape, generator=generator) - 1
            shaken[place] = parameter * (1 + precision.shake * sign.to(parameter))
        return shaken

    def _shares(self, tensors: Sequence[Tensor], tolerance: float) -> list[tuple[float, float]]:
        """The distance of each part of a tensor from the right one, as a share of the allowed one and of the norm.

        Args:
            tensors: the right one, the one that was found, and those of shaken parameters.
            tolerance: relative.
        """
        wholes = [tensor.detach().double() for tensor in tensors]
        least = 1e-3 * _norm(wholes[0])  # a bias's gradient may be only rounding error
        return [_share(part, least, tolerance) for part in zip(*map(self._split, wholes), strict=True)]


def _share(tensors: Sequence[Tensor], least: float, tolerance: float) -> tuple[float, float]:
    right, found, *shaken = tensors
    if not torch.equal(right.isfinite(), found.isfinite()):
        return math.inf, math.inf
    apart, norm = _norm(found - right), _norm(right) + least
    allowed = tolerance * norm + MARGIN * max(_norm(other - right) for other in shaken)
    return apart / (allowed + TINY), apart / (norm + TINY)


def _norm(tensor: Tensor) -> float:
    """The norm of the finite entries."""
    return float(torch.where(tensor.isfinite(), tensor, 0.0).norm())


def precision_of(graph: fx.GraphModule) -> Precision:
    """The precision that a graph's results can have."""
    values = [node.meta.get("val") for node in graph.graph.nodes]
    tensors = [value for value in pytree.tree_leaves(values) if isinstance(value, Tensor)]
    is_coarse = any(tensor.is_cuda or tensor.dtype in (torch.bfloat16, torch.float16) for tensor in tensors)
    return COARSE if is_coarse else EXACT


def written(graph: fx.GraphModule) -> list[bool]:
    """Whether a graph writes to each of its inputs."""
    nodes = list(graph.graph.nodes)
    targets: set[fx.Node] = set()
    for node in nodes:
        if not isinstance(node.target, torch._ops.OpOverload):
            continue
        schema = node.target._schema.arguments
        named = [(place, node.kwargs[place.name]) for place in schema if place.name in node.kwargs]
        for place, value in (*zip(schema, node.args, strict=False), *named):
            if place.alias_info is not None and place.alias_info.is_write:
                targets |= {_viewed(tensor) for tensor in (value if isinstance(value, list | tuple) else [value])}
    return [node in targets for node in nodes if node.op == "placeholder"]


def _viewed(node: Any) -> fx.Node:
    """The tensor that a view shows."""
    while node.op == "call_function" and (node.target is operator.getitem or node.target.is_view):
        node = node.args[0]
    return node
