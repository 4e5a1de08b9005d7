"""Compiles a traced graph into a library, in a process of its own: nothing here imports qframe.

``python -P compile_graph.py SOURCE TARGET THREADS WAY [deterministic]``: ``SOURCE`` holds the graph and the shape,
strides, type and device of every input, as ``torch.save`` wrote them a moment ago; ``WAY`` is ``default``, or
``unfused``, which fuses no outer loops. What ``torch._inductor.aoti_load_package`` loads is written as
``TARGET-CHECKSUM.pt2``.
"""

import hashlib
import os
import runpy
import sys
import warnings
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch
import torch._inductor
from torch._inductor import config
from torch._inductor.codegen import cpp
from torch._inductor.cpp_builder import CppBuilder


def compile_graph(source: str, target: str, threads: int, way: str, *, is_deterministic: bool = False) -> None:
    """Write the library, under another name first: two processes may be at it at once."""
    _restrict_fusion(is_allowed=way == "default")
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(is_deterministic)
    config.cpp.vec_isa_ok = True  # the processor's own; to try the compiler on each takes a seventh of the time
    config.aot_inductor.precompile_headers = False  # to write them takes a third of the time, and they save less
    _compile_files_together()
    operators = Path(__file__).with_name("kernels") / "product_op.py"
    if operators.is_file():
        product_op = runpy.run_path(str(operators))
        product_op["define"]()
        declared = product_op["DECLARATIONS"].items()
        shims = {getattr(torch.ops.qframe, name).default: [declaration] for name, declaration in declared}
        config.aot_inductor.custom_ops_to_c_shims = shims
    graph, layouts = torch.load(source, weights_only=False)
    inputs = [torch.empty_strided(shape, step, dtype=kind, device=device) for shape, step, kind, device in layouts]
    with torch.no_grad():
        program = torch.export.export(graph, tuple(inputs), strict=False)
        written = torch._inductor.aoti_compile_and_package(program, package_path=f"{target}.{os.getpid()}.pt2")
    with open(written, "rb") as file:
        checksum = hashlib.file_digest(file, "sha256").hexdigest()
    os.replace(written, f"{target}-{checksum}.pt2")


def _compile_files_together() -> None:
    """Run the compiler on the C++ files of a library at once: torch waits for each, the shorter takes half as long."""
    build, pool, running = CppBuilder.build, ThreadPoolExecutor(), list[Future[None]]()

    def start(self: CppBuilder) -> None:
        command = self.get_command_line().split()
        if "-c" in command and any(word.endswith(".cpp") for word in command):
            running.append(pool.submit(build, self))
            return
        while running:
            running.pop().result()
        build(self)

    CppBuilder.build = start


def _restrict_fusion(*, is_allowed: bool) -> None:
    """Fuse outer loops of CPU code only where they take one row at a time, or not at all.

    Before torch 2.14, vectorized rows of a fused loop share one row of a buffer: gradients were wrong, and the losses
    beside them right. See pytorch/pytorch#185702, fixed by #185855 in the same way.
    """
    node = cpp.OuterLoopFusedSchedulerNode
    can_fuse = node.check_outer_fusion_loop_level_attr

    def takes_single_rows(self: Any, kernels: list[Any], depth: int) -> bool:
        loops = [loop for kernel in kernels for loop in kernel.loop_nest.loops[:depth]]
        return is_allowed and can_fuse(self, kernels, depth) and all(loop.steps == 1 for loop in loops)

    node.check_outer_fusion_loop_level_attr = takes_single_rows  # pyright: ignore[reportAttributeAccessIssue]


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    source, target, threads, way, *options = sys.argv[1:]
    compile_graph(source, target, int(threads), way, is_deterministic="deterministic" in options)
