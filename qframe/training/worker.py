"""A collector that answers from a process or a thread of its own."""

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
from typing import Any

import torch
from torch import Tensor

from qframe.keys import NestedKey
from qframe.training.collector import Collector
from qframe.training.signals import ASKING

GONE = "expected an answer of the process that steps the environments, which is gone: was it killed?"
SLEEPS_AFTER = 0.001
"""Seconds."""
Rows = dict[NestedKey, Tensor]


class Worker:
    """Calls methods of a collector elsewhere; answers come in the order of the questions.

    Args:
        collector: a process gets a copy of it, a thread the collector itself.
    """

    def __init__(self, collector: Collector) -> None:
        is_thread = getattr(collector.envs, "stays_in_process", False)
        begin = _in_thread if is_thread else _in_process
        self._place, self._channel = begin(_Server(collector))

    def send(self, name: str, *arguments: Any) -> None:
        """Ask for a call.

        Raises:
            RuntimeError: the worker is gone.
        """
        try:
            self._channel.send((name, arguments))
        except OSError as gone:
            raise RuntimeError(GONE) from gone

    def receive(self) -> Any:
        """The next answer.

        Raises:
            Exception: what the call raised.
            RuntimeError: the worker is gone.
        """
        try:
            answer, error = self._channel.receive()
        except (EOFError, OSError) as gone:
            raise RuntimeError(GONE) from gone
        if error is not None:
            raise error
        return answer

    def close(self) -> None:
        """End it, after the call that runs."""
        with contextlib.suppress(OSError):
            self._channel.send(("close", ()))
        self._channel.drain()
        self._place.join()


class _Server:
    """What the worker is asked for."""

    def __init__(self, collector: Collector) -> None:
        self._collector = collector

    def serve(self, channel: Any) -> None:
        while True:
            try:
                name, arguments = channel.receive()
            except (EOFError, OSError):
                return
            if name == "close":
                return
            try:
                answer = getattr(self, name)(*arguments) if name in _OWN else _of(self._collector, name, arguments)
                channel.send((answer, None))
            except Exception as error:
                channel.send((None, _sendable(error)))

    def close(self) -> None:
        """Close the environments."""
        self._collector.envs.close()

    def collect(self) -> dict[NestedKey, Any]:
        """The leaves of the next transitions."""
        transitions = self._collector.collect()
        return {key: leaf.numpy() for key, leaf in transitions.items(True, True)}  # pyright: ignore

    def metrics(self) -> dict[str, float]:
        """What exploration tells."""
        return dict(self._collector.exploration.metrics)

    def take_statistics(self) -> tuple[list[float], list[int]]:
        """The episodes that ended."""
        return self._collector.statistics.take()

    def returns_warning(self) -> str | None:
        """What the range of returns has to tell."""
        return None if self._collector.returns is None else self._collector.returns.warning()


_OWN = ("collect", "metrics", "take_statistics", "returns_warning")


class _Pipe:
    """One end of a connection between processes; tensors travel as bytes.

    It looks for a message for a while before it sleeps: to wake a process takes the other one longer than to send.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._incoming = select.poll()
        self._incoming.register(connection, select.POLLIN)

    def send(self, message: Any) -> None:
        self._connection.send_bytes(pickle.dumps(message, protocol=5))

    def receive(self) -> Any:
        until = time.perf_counter() + SLEEPS_AFTER
        while not self._incoming.poll(0) and time.perf_counter() < until:
            os.sched_yield()
        return pickle.loads(self._connection.recv_bytes())

    def drain(self) -> None:
        """Take what comes until the other end is closed, which an answer that nobody takes would keep from it."""
        with contextlib.suppress(EOFError, OSError):
            while True:
                self._connection.recv_bytes()


class _Queues:
    """One end of a connection between threads."""

    def __init__(self, incoming: queue.SimpleQueue[Any], outgoing: queue.SimpleQueue[Any]) -> None:
        self.receive, self.send = incoming.get, outgoing.put

    def drain(self) -> None:
        """Nothing: a queue takes whatever comes."""


def _in_thread(server: _Server) -> tuple[Any, Any]:
    there, back = queue.SimpleQueue[Any](), queue.SimpleQueue[Any]()
    thread = threading.Thread(target=_serve_to_the_end, args=(server, _Queues(there, back)), daemon=True)
    thread.start()
    return thread, _Queues(back, there)


def _serve_to_the_end(server: _Server, channel: _Queues) -> None:
    """In the new thread, with which processes end that it began anew: so it closes the environments itself."""
    server.serve(channel)
    with contextlib.suppress(Exception):  # who closes them again is told
        server.close()


def _in_process(server: _Server) -> tuple[Any, Any]:
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve_alone, args=(server, theirs, ours), daemon=True)
    with warnings.catch_warnings():  # from Python 3.12 on: this process has threads; the new one uses none of them
        warnings.simplefilter("ignore", DeprecationWarning)
        process.start()
    theirs.close()
    return process, _Pipe(ours)


def _serve_alone(server: _Server, connection: Connection, other: Connection) -> None:
    """In the new process: signals are the first one's business, and its end is the end of this one."""
    other.close()
    for number in ASKING:
        signal.signal(number, signal.SIG_IGN)
    torch.set_num_threads(1)  # here only: in a thread it would be the learner's number too
    server.serve(_Pipe(connection))


def _of(collector: Collector, name: str, arguments: tuple[Any, ...]) -> Any:
    attribute = getattr(collector, name)
    return attribute(*arguments) if callable(attribute) else attribute


def _sendable(error: Exception) -> Exception:
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error


def rows_of(answer: dict[NestedKey, Any]) -> Rows:
    """Leaves as tensors."""
    return {key: torch.from_numpy(leaf) for key, leaf in answer.items()}
