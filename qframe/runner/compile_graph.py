"""Compiles a traced graph into a library, in a process of its own: nothing here imports qframe.

``python -P compile_graph.py SOURCE TARGET THREADS``: ``SOURCE`` holds the graph and inputs like those it will be given,
as ``torch.save`` wrote them a moment ago; ``TARGET`` is what ``torch._inductor.aoti_load_package`` loads.
"""

import os
import sys
import warnings

import torch
import torch._inductor


def compile_graph(source: str, target: str, threads: int) -> None:
    """Write the library, under another name first: two processes may be at it at once."""
    torch.set_num_threads(threads)
    graph, inputs = torch.load(source, weights_only=False)
    with torch.no_grad():
        program = torch.export.export(graph, tuple(inputs), strict=False)
        written = torch._inductor.aoti_compile_and_package(program, package_path=f"{target}.{os.getpid()}.pt2")
    os.replace(written, target)


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    compile_graph(sys.argv[1], sys.argv[2], int(sys.argv[3]))
