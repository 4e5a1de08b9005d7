"""The file formats of ``qframe export``: ONNX and torch.export, written and loaded."""

import contextlib
import importlib
import io
import logging
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

OUTPUTS = ["action", "action_value", "next_state"]
"""The outputs of a policy; the last one only with a memory."""


class Format(NamedTuple):
    """A file format: the packages it needs, its suffix, and functions that write and load it."""

    packages: tuple[str, ...]
    suffix: str
    write: Callable[[nn.Module, tuple[Tensor, ...], Sequence[str], Path], None]
    load: Callable[[Path], Callable[..., Sequence[Any]]]


def _exported(policy: nn.Module, inputs: tuple[Tensor, ...]) -> torch.export.ExportedProgram:
    """The policy as a graph for any number of observations."""
    batch = torch.export.Dim("batch", min=1)
    shapes = {"inputs": tuple({0: batch} for _ in inputs)}
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # from tracing quantile levels and the like
        return torch.export.export(policy.requires_grad_(False), inputs, dynamic_shapes=shapes)


def _write_torch(policy: nn.Module, inputs: tuple[Tensor, ...], names: Sequence[str], path: Path) -> None:
    program = _exported(policy, inputs)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # from parameters that share memory
        torch.export.save(program, path)


def _load_torch(path: Path) -> Callable[..., Sequence[Any]]:
    return torch.export.load(path).module()


def _write_onnx(policy: nn.Module, inputs: tuple[Tensor, ...], names: Sequence[str], path: Path) -> None:
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")  # from the converter's own parts
        torch.onnx.export(
            _exported(policy, inputs),
            inputs,
            path,
            input_names=list(names),
            output_names=OUTPUTS[: len(policy(*inputs))],
            dynamo=True,
            external_data=False,
        )


def _load_onnx(path: Path) -> Callable[..., Sequence[Any]]:
    runtime: Any = importlib.import_module("onnxruntime")
    session = runtime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    names = [entry.name for entry in session.get_inputs()]
    return lambda *inputs: session.run(
        None, {name: entry.numpy() for name, entry in zip(names, inputs, strict=True)}
    )


FORMATS = {
    "onnx": Format(("onnx", "onnxscript", "onnxruntime"), ".onnx", _write_onnx, _load_onnx),
    "torch": Format((), ".pt2", _write_torch, _load_torch),
}
