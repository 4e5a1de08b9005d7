"""The gradient of a network on images, by each way there is to compute convolutions here: which is the fastest.

    python scripts/images.py                                   # all networks, one and two threads, half an hour
    python scripts/images.py --networks minatar --threads 1 --dtypes float32

Batch 32: the small network on MinAtar's 10 × 10 × 4, the Nature CNN on four frames of 42 × 42 and 84 × 84. ``torch``
and ``channels last`` (in which oneDNN computes) run operation by operation; ``compiled`` is what ``compile=auto`` uses,
with the kernels of this project where the processor has AVX-512 and there is one thread; ``compiled by torch`` is
without them. Prints milliseconds of wall time, the fastest quarter of blocks that take turns, and marks a row in which
``compiled`` is more than 5 % slower than the fastest.
"""

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from qframe.compiled import library
from qframe.compiled.library import NativeFunction
from qframe.networks import ConvTrunk

SHAPES = {"minatar": (4, 10, 10), "pong42": (4, 42, 42), "pong84": (4, 84, 84)}
BATCH, ACTIONS, BLOCKS, SECONDS = 32, 6, 24, 0.05


def network(name: str) -> nn.Sequential:
    """The network of a preset of that game, with values of six actions."""
    small = {"channels": (16,), "kernels": (3,), "strides": (1,), "num_features": 128}
    trunk = ConvTrunk(SHAPES[name], **(small if name == "minatar" else {}))
    return nn.Sequential(trunk, nn.Linear(trunk.num_features, ACTIONS))


def ways(name: str, dtype: torch.dtype) -> Iterator[tuple[str, Callable[[], list[Tensor]]]]:
    """Every way, and a call that computes the gradient by it."""
    torch.manual_seed(0)
    net = network(name)
    names = [key for key, _ in net.named_parameters()]
    images, aim = torch.rand(BATCH, *SHAPES[name]), torch.randn(BATCH, ACTIONS)

    def loss(params: dict[str, Tensor], images: Tensor, aim: Tensor) -> Tensor:
        with torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
            return (functional_call(net, params, (images,)).float() - aim).square().mean()

    def gradient(*tensors: Tensor) -> list[Tensor]:
        *params, images, aim = tensors
        return list(grad(loss)(dict(zip(names, params, strict=True)), images, aim).values())

    plain = [*(param.detach() for param in net.parameters()), images, aim]
    last = [x.contiguous(memory_format=torch.channels_last) if x.dim() == 4 else x for x in plain]
    yield "torch", partial(gradient, *plain)
    yield "channels last", partial(gradient, *last)
    kernels = library.PRODUCTS
    for way, products in (("compiled", kernels), ("compiled by torch", {})):
        library.PRODUCTS = products
        native = NativeFunction(gradient, plain)
        library.PRODUCTS = kernels
        native.wait()
        yield way, partial(native, plain)


def milliseconds(calls: Mapping[str, Callable[[], object]]) -> dict[str, float]:
    """The time of each call."""
    times: dict[str, list[float]] = {way: [] for way in calls}
    for _ in range(BLOCKS):
        for way, call in calls.items():
            call()
            started, count = time.perf_counter(), 0
            while time.perf_counter() - started < SECONDS or not count:
                call()
                count += 1
            times[way].append((time.perf_counter() - started) / count * 1e3)
    return {way: statistics.mean(sorted(found)[: BLOCKS // 4]) for way, found in times.items()}


def main() -> int:
    """Measure, and print a table; 1 if ``compiled`` is not the fastest somewhere."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", nargs="+", choices=SHAPES, default=[*SHAPES])
    parser.add_argument("--threads", nargs="+", type=int, default=[1, 2])
    parser.add_argument("--dtypes", nargs="+", choices=("float32", "bfloat16"), default=["float32", "bfloat16"])
    chosen, slower = parser.parse_args(), 0
    print(f"{torch.backends.cpu.get_cpu_capability()}, torch {torch.__version__}")
    print("| network | threads | type | torch | channels last | compiled | compiled by torch | |\n|" + "---|" * 8)
    for threads in chosen.threads:
        torch.set_num_threads(threads)
        for name in chosen.networks:
            for dtype in chosen.dtypes:
                found = milliseconds(dict(ways(name, getattr(torch, dtype))))
                mark = "compiled is slower" if found["compiled"] > 1.05 * min(found.values()) else ""
                slower += bool(mark)
                cells = " | ".join(f"{value:.2f}" for value in found.values())
                print(f"| {name} | {threads} | {dtype} | {cells} | {mark} |", flush=True)
    return int(slower > 0)


if __name__ == "__main__":
    sys.exit(main())
