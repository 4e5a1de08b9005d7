"""Measures what W learners gain: the time of an update with a whole and a divided batch, and of the exchange.

Processor time of one thread of one process, so that neither load nor the number of cores changes it. The exchange is
measured between real processes. W learners take ``T(B/W) + exchange`` for an update that one learner takes in ``T(B)``,
if each has a core of its own.

    python scripts/parallel_learners.py --cells 2048 --layers 3 --batch 512
"""

import argparse
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from datetime import timedelta
from functools import partial

import torch
import torch.distributed as dist
from tensordict import TensorDict
from torch._C._distributed_c10d import TCPStore

from qframe.actions import Categorical
from qframe.heads import ScalarHead
from qframe.machine.ranks import flops as flops_of
from qframe.networks import MLPTrunk, QNet
from qframe.objectives import DQNLoss, SoftUpdate
from qframe.optimizer import Optimizer

OBSERVATION, ACTIONS = 64, 8


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cells", type=int, default=2240, help="units of a layer")
    parser.add_argument("--layers", type=int, default=3, help="hidden layers")
    parser.add_argument("--batch", type=int, nargs="+", default=[128, 256, 512], help="B")
    parser.add_argument("--workers", type=int, default=2, help="W")
    parser.add_argument("--repeats", type=int, default=9, help="measurements, of which the least counts")
    parser.add_argument("--exchange", nargs=3, type=int, help=argparse.SUPPRESS)  # rank, port, entries
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    workers = arguments.workers
    if arguments.exchange:
        rank, port, entries = arguments.exchange
        print(exchange(rank, workers, port, entries, arguments.repeats))
        return
    torch.manual_seed(0)
    update, parameters, flops = updater(arguments.cells, arguments.layers)
    own = exchanged(workers, parameters, arguments.repeats)
    print(f"{parameters:,} parameters, {flops / 1e6:.1f} MFLOP a forward pass; exchange {own * 1e3:.1f} ms")
    print(f"{'B':>6}  {'T(B)':>10}  {f'T(B/{workers})':>10}  {'gain':>5}   of processor time of one thread")
    for batch in arguments.batch:
        whole, part = least([partial(update, batch), partial(update, batch // workers)], arguments.repeats)
        print(f"{batch:>6}  {whole * 1e3:>7.1f} ms  {part * 1e3:>7.1f} ms  {whole / (part + own):>5.2f}")


def updater(cells: int, layers: int) -> tuple[Callable[[int], None], int, int]:
    """An update as a function of the batch size, the number of parameters, and operations of a forward pass."""
    space = Categorical(ACTIONS)
    network = QNet(MLPTrunk((OBSERVATION,), num_cells=[cells] * layers), ScalarHead, action_space=space)
    loss = DQNLoss(network, delay_value=True, action_space=space)
    optimizer = Optimizer(network.parameters(), partial(torch.optim.Adam, fused=True), lr=1e-4, max_grad_norm=10.0)
    target = SoftUpdate(loss, tau=0.005)

    def update(size: int) -> None:
        rows = {"observation": torch.randn(size, OBSERVATION), "action": torch.randint(ACTIONS, (size,))}
        ends = {"done": torch.zeros(size, 1, dtype=torch.bool), "reward": torch.randn(size, 1)}
        following = TensorDict({"observation": torch.randn(size, OBSERVATION), **ends}, [size])
        optimizer.minimize(loss(TensorDict({**rows, "next": following}, [size]))["loss"])
        target.step()

    operations = flops_of(lambda: network.predict(torch.zeros(1, OBSERVATION)))
    return update, sum(x.numel() for x in network.parameters()), operations


def least(acts: Sequence[Callable[[], object]], repeats: int) -> list[float]:
    """The least processor time of each call, in seconds, of calls that take turns: load only adds to it."""
    times: list[list[float]] = [[] for _ in acts]
    for _ in range(repeats + 1):
        for act, own in zip(acts, times, strict=True):
            started = time.process_time()
            act()
            own.append(time.process_time() - started)
    return [min(own[1:]) for own in times]


def exchanged(workers: int, entries: int, repeats: int) -> float:
    """The processor time of the exchange of a gradient in one of W processes, in seconds."""
    store = TCPStore("127.0.0.1", 0, workers, is_master=True, wait_for_workers=False)
    processes = [
        subprocess.Popen(
            [sys.executable, __file__, *map(str, ("--workers", workers, "--exchange", rank, store.port, entries))],
            stdout=subprocess.PIPE, text=True,
        )
        for rank in range(workers)
    ]  # fmt: skip
    return max(float(process.communicate()[0]) for process in processes)


def exchange(rank: int, workers: int, port: int, entries: int, repeats: int) -> float:
    """The processor time of an exchange in this process."""
    limit = timedelta(seconds=120)
    store = TCPStore("127.0.0.1", port, workers, is_master=False, timeout=limit)
    dist.init_process_group("gloo", store=store, rank=rank, world_size=workers, timeout=limit)
    vector = torch.ones(entries)
    seconds = least([lambda: [dist.all_reduce(vector) for _ in range(4)]], repeats)[0] / 4
    dist.destroy_process_group()
    return seconds


if __name__ == "__main__":
    main()
