"""A function of tensors as a CUDA graph: traced and recorded once, then replayed without Python between its kernels."""

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, fx
from torch.utils import _pytree as pytree

from qframe.compiled.library import trace
from qframe.compiled.verdict import Comparison, written

WARM_UPS = 3
"""Times that the operations run before they are recorded: libraries allocate their workspaces the first time."""


class CapturedFunction:
    """A function of tensors, recorded for inputs like these.

    A recorded graph reads and writes fixed addresses: the first inputs are kept, and inputs in other memory are copied
    into them. Outputs are copied, so that the next call does not overwrite them.

    Args:
        function: of a flat list of tensors, which it may change in place; returns tensors in any nesting.
        inputs: like those it will be called with; nothing changes them before the first call.
        comparison: with the function itself, made at once; a graph that differs is dropped with a warning, and the
            function is called in its place.

    Raises:
        ValueError: inputs on several devices: those on the CPU would keep the values of the recording.
        Exception: whatever the function raises where it reads a value or a tensor that is not among its inputs.
    """

    is_compiling = False

    def __init__(
        self, function: Callable[..., Any], inputs: Sequence[Tensor], comparison: Comparison | None = None
    ) -> None:
        devices = {tensor.device for tensor in inputs}
        if len(devices) > 1:
            raise ValueError(f"inputs are on {' and '.join(sorted(map(str, devices)))}; move them to one device")
        graph, self._nesting = trace(function, inputs)
        self._inputs = list(inputs)
        self._replay, self._outputs = self._record(graph)
        comparison = comparison or Comparison()
        self._function = None if self._agrees(function, graph, comparison) else function

    @property
    def is_uncompiled(self) -> bool:
        """Whether the function itself is called."""
        return self._function is not None

    def wait(self, tick: Callable[[], None] | None = None) -> None:
        """Do nothing: it was recorded when it was built."""

    def __call__(self, inputs: Sequence[Tensor]) -> Any:
        """The function's result for these inputs."""
        if self._function is not None:
            return self._function(*inputs)
        for own, given in zip(self._inputs, inputs, strict=True):
            if own.data_ptr() != given.data_ptr():
                own.copy_(given, non_blocking=True)
        self._replay()
        return pytree.tree_unflatten([output.clone() for output in self._outputs], self._nesting)

    def _agrees(self, function: Callable[..., Any], graph: fx.GraphModule, comparison: Comparison) -> bool:
        """Whether a replay does what the function does, the inputs left as they are."""
        is_written = written(graph)
        self._function = None

        def replayed(copies: list[Tensor]) -> Any:
            places = [places for *places, writes in zip(self._inputs, copies, is_written, strict=True) if writes]
            kept = [own.clone() for own, _ in places]
            outputs = self(copies)
            for (own, copy), before in zip(places, kept, strict=True):
                copy.copy_(own)
                own.copy_(before)
            return outputs

        verdict = comparison(function, replayed, self._inputs, graph)
        if not verdict.agrees:
            warnings.warn(
                f"{comparison.name} gives wrong results as a CUDA graph; it runs without one, which is slower (torch "
                f"{torch.__version__})",
                stacklevel=2,
            )
        return verdict.agrees

    def _record(self, graph: fx.GraphModule) -> tuple[Callable[[], None], list[Tensor]]:
        """A call that replays the operations on the kept inputs, and the tensors it writes the outputs to."""
        with torch.cuda.device(self._inputs[0].device):  # streams belong to the current device
            return self._recorded(graph)

    def _recorded(self, graph: fx.GraphModule) -> tuple[Callable[[], None], list[Tensor]]:
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.no_grad(), torch.cuda.stream(stream):
            scratch = scratch_of(graph, self._inputs)
            for _ in range(WARM_UPS):
                graph(*scratch)
        torch.cuda.current_stream().wait_stream(stream)
        recorded = torch.cuda.CUDAGraph()
        with torch.no_grad(), torch.cuda.graph(recorded):
            outputs = graph(*self._inputs)
        return recorded.replay, outputs


def scratch_of(graph: fx.GraphModule, inputs: Sequence[Tensor]) -> list[Tensor]:
    """The inputs, with copies of those that the graph writes to; so a replay on the GPU is not copied."""
    return [given.clone() if writes else given for writes, given in zip(written(graph), inputs, strict=True)]


def check_capturable(device: torch.device) -> None:
    """Refuse a device that has no CUDA graphs.

    Raises:
        ValueError: it is not a CUDA device.
    """
    if device.type != "cuda":
        raise ValueError(f"compile=cuda_graph needs a CUDA device, not {device}; set compile=true")
