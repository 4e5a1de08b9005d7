"""Compiles a traced graph into a library, in a process of its own: nothing here imports qframe.

``python -P compile_graph.py SOURCE TARGET THREADS [deterministic]``: ``SOURCE`` holds the graph and the shape, strides,
type and device of every input, as ``torch.save`` wrote them a moment ago. What ``torch._inductor.aoti_load_package``
loads is written as ``TARGET-CHECKSUM.pt2``.
"""

import hashlib
import os
import runpy
import sys
import warnings
from pathlib import Path

import torch
import torch._inductor
from torch._inductor import config


def compile_graph(source: str, target: str, threads: int, *, is_deterministic: bool = False) -> None:
    """Write the library, under another name first: two processes may be at it at once."""
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(is_deterministic)
    config.aot_inductor.precompile_headers = False  # to write them takes a third of the time, and they save none
    product_op = runpy.run_path(str(Path(__file__).with_name("product_op.py")))
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


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    compile_graph(sys.argv[1], sys.argv[2], int(sys.argv[3]), is_deterministic="deterministic" in sys.argv[4:])
