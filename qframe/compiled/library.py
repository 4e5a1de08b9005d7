"""A function of tensors as native code: traced in this process, compiled in another, kept for later runs."""

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import warnings
import weakref
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, fx
from torch.fx.experimental.proxy_tensor import make_fx
from torch.utils import _pytree as pytree

from qframe.compiled.verdict import Comparison, Verdict
from qframe.machine.native_code import cache_dir, is_whole, processor

PRODUCTS: dict[Any, Callable[..., Any]] = {}
"""The functions that replace operations when a graph is traced."""
if Path(__file__).with_name("kernels").joinpath("__init__.py").is_file():
    from qframe.compiled.kernels import PRODUCTS
BATCH_NORMS = torch.ops.aten.native_batch_norm.default, torch.ops.aten.cudnn_batch_norm.default
"""They write to two inputs, which their schemas do not say."""
COMPILER = Path(__file__).with_name("compile_graph.py")
"""Run as a script, never imported here: that would import torch's whole compiler."""
TICK = 5.0  # seconds
WAYS = ("default", "unfused")
"""The ways to compile a graph, as ``compile_graph.py`` names them; the second if the first gives wrong results."""


class NativeFunction:
    """A function of tensors, compiled for inputs like these, or found compiled by an earlier run.

    The key is the traced graph itself with the layout of its inputs, the number of threads, the processor and torch's
    version, so that no change of the function is missed. A missing library is compiled by a process of its own, started
    here and waited for by the first call.

    A library is compared with the function on these inputs before its first use, and the verdict is kept beside it. One
    that differs is deleted with a warning and compiled again with fewer optimizations; if that differs as well, the
    function itself is called.

    Args:
        function: of a flat list of tensors, which it may change in place; returns tensors in any nesting, best a list.
        inputs: like those it will be called with, in number, shape, strides, type and device; they are read when a
            library is compared, and not changed.
        comparison: of a library with the function.

    Raises:
        Exception: whatever the function raises where it reads a value or a tensor that is not among its inputs.
    """

    def __init__(
        self, function: Callable[..., Any], inputs: Sequence[Tensor], comparison: Comparison | None = None
    ) -> None:
        self._function, self._inputs, self._comparison = function, list(inputs), comparison or Comparison()
        self._graph, nesting = trace(function, inputs)
        self.is_uncompiled = False
        """Whether the function itself is called."""
        self._nesting = None if nesting == pytree.tree_structure([0] * nesting.num_leaves) else nesting
        self._run: Callable[[list[Tensor]], list[Tensor]] | None = None
        self._gpu = next((tensor.device.index for tensor in inputs if tensor.is_cuda), -1)
        self._compiling: _Compiling | None = None
        self._ways = list(WAYS)
        if (reason := _reason_not_to_compile(self._graph)) is not None:
            self._run_uncompiled(reason)
        else:
            self._begin()

    @property
    def library(self) -> Path | None:
        """The library's file, whose name ends in its checksum; None if there is none yet."""
        return next(self._place.parent.glob(f"{self._place.name}-*.pt2"), None)

    @property
    def is_compiling(self) -> bool:
        """Whether a process is compiling it now."""
        return self._compiling is not None

    def wait(self, tick: Callable[[], None] = lambda: None) -> None:
        """Load the library, once it is compiled and found to agree with the function.

        Args:
            tick: called every few seconds.

        Raises:
            RuntimeError: it could not be compiled; the message is the compiler's last line.
        """
        while self._run is None:
            was_compiled = self._compiling is not None
            if self._compiling is not None:
                self._compiling.wait(tick)
                self._compiling = None
            library = self.library
            if library is not None and is_whole(library):
                self._judge(library)
            elif was_compiled:
                raise RuntimeError(f"the library just written to {self._place.parent} is damaged; check the disk")
            else:
                if library is not None:
                    library.unlink(missing_ok=True)
                self._compiling = self._compile()
        self._inputs = []

    def __call__(self, inputs: list[Tensor]) -> Any:
        """The function's result for these inputs."""
        self.wait()
        assert self._run is not None
        outputs = self._run(inputs)
        return outputs if self._nesting is None else pytree.tree_unflatten(outputs, self._nesting)

    def _begin(self) -> None:
        """Look the library up, or start compiling it, in the first way not known to fail here."""
        while self._ways:
            self._place = cache_dir() / _fingerprint(self._graph, self._inputs, self._ways[0])
            self._verdict = self._place.with_suffix(".json")
            verdict = Verdict.read(self._verdict)
            if verdict is None or verdict.agrees:
                self._compiling = self._compile() if self.library is None else None
                return
            del self._ways[0]
        self._run_uncompiled("gives wrong results when compiled")

    def _run_uncompiled(self, reason: str) -> None:
        self.is_uncompiled = True
        self._warn(f"{reason}; it runs uncompiled, which is slower")
        self._run = lambda inputs: pytree.tree_leaves(self._function(*inputs))

    def _judge(self, library: Path) -> None:
        """Use a library that agrees with the function; delete one that does not."""
        run = _load(library, self._gpu)
        verdict = Verdict.read(self._verdict, library.name)
        if verdict is None:
            verdict = self._comparison(self._function, run, self._inputs, self._graph)
            verdict.write(self._verdict, library.name)
        if verdict.agrees:
            self._run = run
            return
        library.unlink(missing_ok=True)
        del self._ways[0]
        if self._ways:
            self._warn("gives wrong results when compiled; it is compiled again with fewer optimizations")
        self._begin()

    def _warn(self, fault: str) -> None:
        warnings.warn(f"{self._comparison.name} {fault} (torch {torch.__version__})", stacklevel=2)

    def _compile(self) -> "_Compiling":
        layouts = [(tensor.shape, tensor.stride(), tensor.dtype, tensor.device) for tensor in self._inputs]
        return _Compiling(self._graph, layouts, self._place, self._ways[0])


class _Compiling:
    """A process that compiles a graph; it ends with this one."""

    def __init__(self, graph: fx.GraphModule, layouts: list[Any], place: Path, way: str) -> None:
        folder = Path(tempfile.mkdtemp(prefix="qframe-"))
        source, self._log = folder / "graph.pt", folder / "log.txt"
        torch.save((graph, layouts), source)
        command = [sys.executable, "-P", COMPILER, source, place, torch.get_num_threads(), way]
        command += ["deterministic"] * torch.are_deterministic_algorithms_enabled()
        # Torch's own cache is in one folder for all users of one name, whose files may be another's, as in a container.
        environment = os.environ | {"TORCHINDUCTOR_CACHE_DIR": str(folder / "torch")}
        with self._log.open("w") as log:
            self._process = subprocess.Popen([str(word) for word in command], stdout=log, stderr=log, env=environment)
        self._end = weakref.finalize(self, _end, self._process, folder)

    def wait(self, tick: Callable[[], None]) -> None:
        while True:
            try:
                status = self._process.wait(TICK)
                break
            except subprocess.TimeoutExpired:
                tick()
        lines = self._log.read_text(errors="replace").strip().splitlines()
        self._end()
        if status:
            raise RuntimeError(lines[-1] if lines else f"the compiler ended with status {status}")


def _load(library: Path, gpu: int) -> Callable[[list[Tensor]], list[Tensor]]:
    """A function that runs a library on a GPU, or on the CPU (−1).

    Like ``torch._inductor.aoti_load_package``, but without importing the whole compiler.
    """
    os.environ["TMPDIR"] = tempfile.gettempdir()  # where the loader unpacks; it does not look for another one
    is_called_by_one_thread, runners = True, 1
    loader = torch._C._aoti.AOTIModelPackageLoader  # pyright: ignore
    return loader(str(library), "model", is_called_by_one_thread, runners, gpu).run


def trace(function: Callable[..., Any], inputs: Sequence[Tensor]) -> tuple[fx.GraphModule, pytree.TreeSpec]:
    """The graph of the operations on these inputs, its outputs flat, and how they are nested."""
    nestings: list[pytree.TreeSpec] = []

    def flat(*tensors: Tensor) -> list[Any]:
        leaves, nesting = pytree.tree_flatten(function(*tensors))
        nestings.append(nesting)
        return leaves

    with torch.no_grad():
        graph = make_fx(flat, tracing_mode="fake", decomposition_table=PRODUCTS)(*inputs)
    return graph, nestings[-1]


def _reason_not_to_compile(graph: fx.GraphModule) -> str | None:
    """An effect of a graph that compiled code would lack, for a warning."""
    for node in graph.graph.nodes:
        if torch.Tag.nondeterministic_seeded in getattr(node.target, "tags", ()):
            return "draws from torch's global generator, as dropout does"
        if node.target in BATCH_NORMS and node.args[3] is not None and node.args[5]:
            return "changes the statistics of batch normalisation"
    return None


def _fingerprint(graph: fx.GraphModule, inputs: Sequence[Tensor], way: str) -> str:
    digest = hashlib.sha256(graph.code.encode())
    digest.update(way.encode() + COMPILER.read_bytes())
    for tensor in inputs:
        digest.update(f"{tensor.shape} {tensor.stride()} {tensor.dtype} {tensor.device}".encode())
    for name, constant in graph.named_buffers():
        digest.update(name.encode() + constant.cpu().contiguous().numpy().tobytes())
    devices = {tensor.device for tensor in inputs if tensor.is_cuda}
    where = [torch.cuda.get_device_name(device) for device in sorted(devices, key=str)]
    determined = torch.are_deterministic_algorithms_enabled()
    digest.update(f"{torch.__version__} {torch.get_num_threads()} {processor()} {where} {determined}".encode())
    return digest.hexdigest()[:32]


def _end(process: subprocess.Popen[bytes], folder: Path) -> None:
    if process.poll() is None:
        process.kill()
        process.wait()
    shutil.rmtree(folder, ignore_errors=True)
