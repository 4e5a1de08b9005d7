"""Whether one process that trains K seeds as one batched graph beats K single updates: W1's, by ``torch.func.vmap``.

    python scripts/seeds_together.py --seeds 2 4 8

Prints microseconds of processor time per update of one seed, one thread: the fastest quarter of 60 blocks, all
contestants taking turns. ``gain`` is the time of a single update, compiled or not, over that of a seed in the batch.
"""

import argparse
import itertools
import statistics
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from torch import Tensor
from torch.func import grad, vmap

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from qframe.compiled.library import NativeFunction

SIZES, BATCH, GAMMA, LR = (4, 120, 84, 2), 128, 0.99, 2.5e-4
LAYERS = list(itertools.pairwise(SIZES))
COUNT = sum(inputs * outputs + outputs for inputs, outputs in LAYERS)
BLOCKS, CALLS = 60, 20


def values(params: Tensor, observation: Tensor) -> Tensor:
    """The values ``[B, A]`` by the network whose parameters are the vector ``params``."""
    x, start = observation, 0
    for inputs, outputs in LAYERS:
        weight = params[start : start + inputs * outputs].view(outputs, inputs)
        start += inputs * outputs
        x = torch.addmm(params[start : start + outputs], x if x is observation else x.relu(), weight.t())
        start += outputs
    return x


def loss(params: Tensor, target: Tensor, now: Tensor, action: Tensor, reward: Tensor, following: Tensor) -> Tensor:
    """The mean squared TD error."""
    aim = reward + GAMMA * values(target, following).amax(-1)
    return (values(params, now).gather(1, action[:, None]).squeeze(1) - aim).square().mean()


def update(params: Tensor, target: Tensor, mean: Tensor, square: Tensor, steps: Tensor, *rows: Tensor) -> list[Tensor]:
    """One step of Adam: the parameters, both moments and the number of steps after it."""
    gradient, steps = grad(loss)(params, target, *rows), steps + 1
    mean, square = mean.lerp(gradient, 0.1), square.lerp(gradient * gradient, 0.001)
    scale = (square / (1 - 0.999**steps)).sqrt() + 1e-8
    return [params - LR * (mean / (1 - 0.9**steps)) / scale, mean, square, steps]


def inputs(seeds: int | None) -> list[Tensor]:
    """The inputs of an update, or of one of several seeds."""
    shape, draw = () if seeds is None else (seeds,), torch.Generator().manual_seed(0)
    new = partial(torch.randn, generator=draw)
    vectors = [0.1 * new(*shape, COUNT) for _ in range(2)] + [torch.zeros(*shape, COUNT) for _ in range(2)]
    action = torch.randint(2, (*shape, BATCH), generator=draw)
    return [*vectors, torch.zeros(shape), new(*shape, BATCH, 4), action, new(*shape, BATCH), new(*shape, BATCH, 4)]


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[2, 4, 8])
    torch.set_num_threads(1)
    calls: dict[tuple[str, int], Callable[[], object]] = {}
    for seeds in (1, *parser.parse_args().seeds):
        function, given = (update, inputs(None)) if seeds == 1 else (vmap(update), inputs(seeds))
        native = NativeFunction(function, given)
        native.wait()
        calls["eager", seeds], calls["compiled", seeds] = partial(function, *given), partial(native, given)
    times: dict[tuple[str, int], list[float]] = {key: [] for key in calls}
    for _ in range(BLOCKS):
        for key, call in calls.items():
            started = time.process_time()
            for _ in range(CALLS):
                call()
            times[key].append((time.process_time() - started) / CALLS / key[1] * 1e6)
    fastest = {key: statistics.mean(sorted(found)[: BLOCKS // 4]) for key, found in times.items()}
    print("| way | seeds | µs per update of a seed | gain |\n|---|---|---|---|")
    for (way, seeds), found in fastest.items():
        print(f"| {way} | {seeds} | {found:,.0f} | {fastest[way, 1] / found:.2f} |")


if __name__ == "__main__":
    main()
