"""The processes that learn together, on ``torch.distributed``: each is a rank, and rank 0 leads."""

import contextlib
import json
import os
import platform
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, Literal, TypeVar

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor
from torch._C._distributed_c10d import PrefixStore, Store, TCPStore
from torch.distributed.rendezvous import rendezvous
from torch.utils.flop_counter import FlopCounterMode

from qframe.errors import RunError

Value = TypeVar("Value")
Backend = Literal["auto", "gloo", "nccl"]
START = 600.0
"""Seconds that a rank has to start and build its parts."""
CONNECTING = 5.0
"""Seconds of an attempt to reach rank 0; between two of them a rank looks whether the process that started it lives."""
LEADER = "QFRAME_LEADER"
"""The variable with the process of rank 0, if that has started the others."""
GRACE = 10.0
"""Seconds that the other ranks have to end after this one; then they are killed."""
WORLD = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
"""The variables by which ``torchrun`` tells a process its place."""


class LostRank(RunError):
    """A rank has ended or does not answer, so no other can continue."""


def given_world() -> tuple[int, int]:
    """The rank of this process and the number of ranks, as ``torchrun`` gave them; (0, 1) if it did not."""
    if any(name not in os.environ for name in WORLD):
        return 0, 1
    return int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])


class Ranks:
    """W processes, each the whole program with a share of the environments, the replay and the batch.

    Rank 0 is the process that the user started, or the first that ``torchrun`` started. It hands the others a job, and
    all of them join once each has built its parts. Every operation ends with ``LostRank`` if another rank ends, at
    once, or does not answer within the timeout.

    Args:
        rank: of this process, from 0.
        size: W.
        store: in which ranks leave messages; rank 0's process or ``torchrun`` keeps it.
        processes: the other ranks, if this process has started them.
    """

    def __init__(
        self, rank: int, size: int, store: Store, processes: Sequence[subprocess.Popen[bytes]] = ()
    ) -> None:
        self.rank, self.size = rank, size
        self._store, self._processes = store, list(processes)
        self._timeout = START
        self._patient: Any = None

    @classmethod
    def lead(cls, size: int) -> "Ranks":
        """Rank 0 of ``size``: of the processes of ``torchrun``, or of processes that are started now."""
        if given_world()[1] > 1:
            store, _, _ = next(rendezvous("env://", timeout=timedelta(seconds=START)))
            return cls(0, size, store)
        store = TCPStore("127.0.0.1", 0, size, is_master=True, wait_for_workers=False)
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")  # no other machine can connect
        ours = {**os.environ, "WORLD_SIZE": str(size), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(store.port)}
        places = [{"RANK": str(rank), "LOCAL_RANK": str(rank)} for rank in range(1, size)]
        return cls(0, size, store, [_started(ours | place) for place in places])

    @classmethod
    def follow(cls) -> "Ranks":
        """The rank that the environment variables name.

        Raises:
            LostRank: rank 0 has ended.
        """
        rank, size = given_world()
        until, leader = time.monotonic() + START, os.environ.get(LEADER)
        while True:
            try:
                store, _, _ = next(rendezvous("env://", timeout=timedelta(seconds=CONNECTING)))
            except (RuntimeError, ValueError) as error:
                if time.monotonic() > until or (leader is not None and os.getppid() != int(leader)):
                    raise LostRank("rank 0 has ended") from error
            else:
                store.set_timeout(timedelta(seconds=START))
                return cls(rank, size, store)

    @property
    def is_first(self) -> bool:
        """Whether this is rank 0, which alone evaluates, prints and writes."""
        return self.rank == 0

    @property
    def share(self) -> tuple[int, int]:
        """The rank and the number of ranks."""
        return self.rank, self.size

    def give_job(self, job: Mapping[str, Any]) -> None:
        """Give the other ranks their job, of values that JSON holds."""
        self._store.set("job", json.dumps(job))

    def take_job(self) -> dict[str, Any]:
        """Wait for the job that rank 0 gives.

        Raises:
            LostRank: rank 0 has ended.
        """
        try:
            return json.loads(self._store.get("job"))
        except RuntimeError as error:
            raise LostRank("rank 0 has ended") from error

    def join(self, *, backend: Backend, device: torch.device, timeout: float) -> None:
        """Meet the other ranks, once this one has built its parts.

        Args:
            backend: ``auto`` is nccl between GPUs, else gloo.
            device: of this rank's network.
            timeout: seconds that a rank may take to answer.

        Raises:
            LostRank: a rank could not build its parts, and the message is its own; or it has other versions.
        """
        until = time.monotonic() + START
        joined = self._store.add("joined", 1)
        while joined < self.size:
            self._check(until)
            time.sleep(0.02)
            joined = self._store.add("joined", 0)
        self._timeout = timeout
        is_nccl = backend == "nccl" or (backend == "auto" and device.type == "cuda")
        limit = timedelta(seconds=timeout)
        with self._operation():
            dist.init_process_group(
                "cpu:gloo,cuda:nccl" if is_nccl else "gloo", store=PrefixStore("ranks", self._store),
                rank=self.rank, world_size=self.size, timeout=limit,
            )  # fmt: skip
            self._patient = dist.new_group(timeout=timedelta(days=30), backend="gloo")
        versions = self.gather(f"Python {platform.python_version()} and torch {torch.__version__}")
        if other := next((place for place, version in enumerate(versions) if version != versions[0]), 0):
            raise LostRank(f"rank {other} has {versions[other]}, and rank 0 {versions[0]}; install the same everywhere")

    def mean(self, tensor: Tensor) -> Tensor:
        """Replace a tensor by its mean over the ranks, equal to the bit on all of them."""
        with self._operation():
            dist.all_reduce(tensor)
        return tensor.div_(self.size)

    def largest(self, values: np.ndarray) -> np.ndarray:
        """The largest of each entry over the ranks, float64 ``[n]``."""
        tensor = torch.from_numpy(values.astype(np.float64))
        with self._operation():
            dist.all_reduce(tensor, dist.ReduceOp.MAX)
        return tensor.numpy()

    def rows(self, own: Tensor) -> Tensor:
        """The vectors ``[n]`` of all ranks, ``[W, n]``."""
        rows = own.new_zeros(self.size, len(own))
        rows[self.rank] = own
        with self._operation():
            dist.all_reduce(rows)
        return rows

    def gather(self, value: Value, *, waits: bool = False) -> list[Value]:
        """The values of all ranks, in their order; ``waits`` for them as long as it takes."""
        values: list[Any] = [None] * self.size
        with self._operation():
            dist.all_gather_object(values, value, group=self._patient if waits else None)
        return values

    def from_first(self, value: Value | None = None) -> Value:
        """Rank 0's value, for which the others wait as long as it takes."""
        values: list[Any] = [value]
        with self._operation():
            dist.broadcast_object_list(values, src=0, group=self._patient)
        return values[0]

    def fail(self, message: str) -> None:
        """Leave a message for rank 0 on why this rank ends."""
        with contextlib.suppress(RuntimeError):
            self._store.set(f"failed-{self.rank}", message)

    def close(self, *, is_whole: bool) -> None:
        """Leave, and end the processes that this one has started.

        Args:
            is_whole: whether the run has come to its end here, so that the other ranks come to it as well.
        """
        if self.is_first and not is_whole:
            self.fail("")
        with contextlib.suppress(Exception):
            if dist.is_initialized():
                dist.destroy_process_group()
        until = time.monotonic() + (START if is_whole else GRACE)
        for process in self._processes:
            try:
                process.wait(max(0.0, until - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    @contextmanager
    def _operation(self) -> Iterator[None]:
        try:
            yield
        except RuntimeError as error:
            raise LostRank(self._reason(str(error))) from error

    def _check(self, until: float) -> None:
        """Check that all ranks may still join.

        Raises:
            LostRank: one has failed, or time is up.
        """
        try:
            found = self._found()
        except RuntimeError as error:
            raise LostRank("rank 0 has ended") from error
        if found is not None:
            raise LostRank(found)
        if time.monotonic() > until:
            raise LostRank(f"not all {self.size} ranks have started within {START:.0f} s; see what the others print")

    def _reason(self, error: str) -> str:
        """Why an operation failed: what another rank left as a message, or how its process ended."""
        until = time.monotonic() + 3.0
        while time.monotonic() < until:
            try:
                if (found := self._found()) is not None:
                    return found
            except RuntimeError:
                return "rank 0 has ended"
            time.sleep(0.05)
        if "imed out" in error or "imeout" in error:
            return f"a rank did not answer within {self._timeout:g} s; if updates take that long, raise learner.timeout"
        return f"the connection to another rank broke: {error.splitlines()[0]}"

    def _found(self) -> str | None:
        for rank in range(self.size):
            if rank != self.rank and self._store.check([f"failed-{rank}"]):
                return "rank 0 has ended" if rank == 0 else f"rank {rank}: {self._store.get(f'failed-{rank}').decode()}"
        for rank, process in enumerate(self._processes, 1):
            if (status := process.poll()) is not None and status != 0:
                return f"rank {rank} {_ended(status)}"
        return None


def agreed(ranks: Ranks | None, value: bool) -> bool:
    """Whether a statement holds on all ranks."""
    return value if ranks is None else all(ranks.gather(value))


def on_first(ranks: Ranks | None, act: Callable[[], Value]) -> Value | None:
    """The value of ``act`` on rank 0, or alone; None on other ranks, which do not call it."""
    return act() if ranks is None or ranks.is_first else None


def _ended(status: int) -> str:
    return f"was killed by {signal.Signals(-status).name}" if status < 0 else f"ended with exit status {status}"


def _started(variables: Mapping[str, str]) -> subprocess.Popen[bytes]:
    """Another rank; it prints nothing but the traceback of a fault of ours."""
    quiet = {"TORCH_CPP_LOG_LEVEL": "ERROR", **variables, LEADER: str(os.getpid())}
    return subprocess.Popen(
        [sys.executable, "-m", "qframe", "train"], env=quiet, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL
    )


def flops(act: Callable[[], object]) -> int:
    """The floating-point operations of the matrix products and convolutions in a call."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        act()
    return counter.get_total_flops()
