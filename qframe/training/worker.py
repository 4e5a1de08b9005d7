"""A collector that runs in a process or a thread of its own, and answers calls in their order."""

import contextlib
import multiprocessing
import os
import pickle
import queue
import select
import signal
import threading
import time
import warnings
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any, Protocol

import torch
from torch import Tensor

from qframe.envs import FaultyEnvironment
from qframe.keys import NestedKey
from qframe.machine.generators import GlobalGenerators
from qframe.training.collector import Collector
from qframe.training.signals import STOP_SIGNALS

POLLING = 0.001
"""Seconds to poll for a message before sleeping: waking a process takes longer than the other one takes to answer."""
Rows = dict[NestedKey, Tensor]


class Channel(Protocol):
    """One end of a connection to a worker; methods raise OSError or EOFError once the other end is gone."""

    def send(self, message: Any) -> None:
        """Send a message."""
        ...

    def receive(self) -> Any:
        """Wait for the next message."""
        ...

    def drain(self) -> None:
        """Discard messages until the other end closes, which an unread one would prevent."""
        ...


class Worker:
    """Calls methods of a collector elsewhere.

    Args:
        collector: a process gets a copy of it, a thread the collector itself.
    """

    def __init__(self, collector: Collector) -> None:
        begin = _in_thread if collector.stays_in_process else _in_process
        self._place, self._channel = begin(collector)
        self.is_process = begin is _in_process
        """Whether it has global generators of its own."""

    def send(self, method: str, *arguments: Any) -> None:
        """Send a call.

        Raises:
            FaultyEnvironment: the worker is gone.
        """
        try:
            self._channel.send((method, arguments))
        except OSError as gone:
            raise self._gone() from gone

    def receive(self) -> Any:
        """Wait for the value of the earliest call not yet received.

        Raises:
            Exception: the one that the call raised.
            FaultyEnvironment: the worker is gone.
        """
        try:
            value, error = self._channel.receive()
        except (EOFError, OSError) as gone:
            raise self._gone() from gone
        if error is not None:
            raise error
        return value

    def _gone(self) -> FaultyEnvironment:
        self._place.join(1.0)
        code = getattr(self._place, "exitcode", None)
        how = "" if code is None else f" with exit status {code}" if code >= 0 else f", killed by signal {-code}"
        return FaultyEnvironment(
            f"the process that steps the environments ended{how}: an environment ended it, or memory ran out; to "
            "restart such environments, set env.vectorization=async env.timeout=60"
        )

    def close(self) -> None:
        """End the worker after the current call."""
        with contextlib.suppress(OSError):
            self._channel.send(("close", ()))
        self._channel.drain()
        self._place.join()


def _serve(collector: Collector, channel: Channel) -> None:
    """Answer calls until the worker is closed or the other end is gone."""
    while True:
        try:
            method, arguments = channel.receive()
        except (EOFError, OSError):
            return
        if method == "close":
            return
        try:
            value = getattr(collector, method)(*arguments)
            if method == "collect":
                value = {key: leaf.numpy() for key, leaf in value.items(True, True)}  # pickled faster than tensors
            channel.send((value, None))
        except Exception as error:
            channel.send((None, _picklable(error)))


def rows_of(collected: dict[NestedKey, Any]) -> Rows:
    """The value of a call of ``collect`` as tensors."""
    return {key: torch.from_numpy(leaf) for key, leaf in collected.items()}


def _picklable(error: Exception) -> Exception:
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error


class _Pipe:
    """A channel between processes."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._incoming = select.poll()
        self._incoming.register(connection, select.POLLIN)

    def send(self, message: Any) -> None:
        self._connection.send_bytes(pickle.dumps(message, protocol=5))

    def receive(self) -> Any:
        until = time.perf_counter() + POLLING
        while not self._incoming.poll(0) and time.perf_counter() < until:
            os.sched_yield()
        return pickle.loads(self._connection.recv_bytes())

    def drain(self) -> None:
        with contextlib.suppress(EOFError, OSError):
            while True:
                self._connection.recv_bytes()


class _Queues:
    """A channel between threads, whose queues hold any number of messages."""

    def __init__(self, incoming: queue.SimpleQueue[Any], outgoing: queue.SimpleQueue[Any]) -> None:
        self.receive, self._send = incoming.get, outgoing.put

    def send(self, message: Any) -> None:
        self._send(message)

    def drain(self) -> None:
        pass


def _in_thread(collector: Collector) -> tuple[threading.Thread, Channel]:
    calls, answers = queue.SimpleQueue[Any](), queue.SimpleQueue[Any]()
    thread = threading.Thread(target=_serve_in_thread, args=(collector, _Queues(calls, answers)), daemon=True)
    thread.start()
    return thread, _Queues(answers, calls)


def _serve_in_thread(collector: Collector, channel: Channel) -> None:
    """Processes that the thread has started end with it, so it closes the environments itself."""
    _serve(collector, channel)
    with contextlib.suppress(Exception):  # they are closed again later, which reports an error
        collector.envs.close()


def _in_process(collector: Collector) -> tuple[BaseProcess, Channel]:
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe()
    generators = GlobalGenerators.capture(with_gpus=False)
    process = context.Process(target=_serve_in_process, args=(collector, theirs, ours, generators), daemon=True)
    with warnings.catch_warnings():  # Python 3.12 warns as this process has threads; the new one uses none of them
        warnings.simplefilter("ignore", DeprecationWarning)
        process.start()
    theirs.close()
    return process, _Pipe(ours)


def _serve_in_process(
    collector: Collector, connection: Connection, other: Connection, generators: GlobalGenerators
) -> None:
    """Signals are left to the first process; when it ends, this one ends too."""
    other.close()
    generators.restore()  # Python gives a forked process a random seed
    for number in STOP_SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    torch.set_num_threads(1)  # not in a thread, where it would change the learner's number as well
    _serve(collector, _Pipe(connection))
