"""The Ray cluster that a run's actors live in: one that is running, or one started on this machine for the run."""

import importlib
import importlib.util
import logging
import os
import signal
import socket
import sys
import time
from collections.abc import Mapping
from typing import Any

from qframe.envs.registry import missing
from qframe.errors import RunError
from qframe.machine.generators import GlobalGenerators
from qframe.training.actor import Actor, versions
from qframe.training.signals import STOP_SIGNALS

ray: Any = importlib.import_module("ray") if importlib.util.find_spec("ray") else None  # an extra
CONNECTING, ANSWERING, STARTING = 4, 30, 300
"""Seconds in which a cluster must accept the first connection, and later ones, and in which actors must start."""
HEAD, NODE = "the head", "this machine's node"
BETWEEN_CHECKS = 5.0
"""Seconds between checks of the cluster's head."""
HTTP2_SETTINGS = b"\4"
HTTP2_GREETING = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(3) + HTTP2_SETTINGS + bytes(5)
"""What a gRPC client sends first, with a frame of no settings; the server's first frame is one of settings."""
OBJECT_STORE = 256 * 2**20
"""Bytes of shared memory, at most, for messages and networks on a cluster that is started for the run."""


class LostActor(Exception):
    """An actor died, or did not answer in time."""


class Cluster:
    """Starts actors.

    Args:
        address: of a running cluster; None starts one on this machine, which ends with the run.
        actors: number of actors.
        cpus: CPUs that an actor reserves.
        resources: further resources that an actor reserves, by name.

    Raises:
        ValueError: Ray is not installed, no cluster answers, or it is too small.
    """

    def __init__(self, address: str | None, *, actors: int, cpus: float, resources: Mapping[str, float]) -> None:
        if ray is None:
            raise ValueError(missing("ray", "collector=ray", "ray"))
        self._actors, self._needs = actors, {"CPU": cpus, **resources}
        self._is_ours = not ray.is_initialized()
        if self._is_ours:
            before = GlobalGenerators.capture(with_gpus=False)
            _connect(address)
            before.restore()  # Ray draws from them, by what it finds on this machine
        here = ray.get_runtime_context()
        host, _, port = here.gcs_address.rpartition(":")
        self._needed, self._checks_at = {HEAD: (host, int(port))}, 0.0
        self._open: dict[str, socket.socket] = {}
        for node in ray.nodes():
            if node["NodeID"] == here.get_node_id():
                self._needed[NODE] = node["NodeManagerAddress"], node["NodeManagerPort"]
        if (fault := self.fault()) is not None:
            self.close()
            raise ValueError(fault)
        options = {"num_cpus": cpus, "resources": dict(resources), "max_restarts": 0, "scheduling_strategy": "SPREAD"}
        self._make: Any = ray.remote(Actor).options(**options)

    def fault(self) -> str | None:
        """Why the cluster is too small for all actors; None if it is not."""
        found = ray.cluster_resources()
        for name, each in self._needs.items():
            if each * self._actors > (there := found.get(name, 0.0)):
                key = "cpus" if name == "CPU" else f"resources.{name}"
                fits = f"actors={int(there / each)}" if there >= each else f"{key}={there / self._actors:g}"
                return (
                    f"{self._actors} actors with {each:g} {name} each need {each * self._actors:g}, and the Ray "
                    f"cluster has {there:g}; set collector.{fits}, or add machines to the cluster"
                )
        return None

    def check(self, *, now: bool = False) -> None:
        """Check that the cluster's head and this machine's node answer; Ray would end this process once one has gone.

        Args:
            now: whether to check at once; otherwise every few seconds.

        Raises:
            RunError: one does not.
        """
        if time.monotonic() < self._checks_at and not now:
            return
        self._checks_at = time.monotonic() + BETWEEN_CHECKS
        for name in self._needed:
            self._reconnect(name)

    def publish(self, version: Any) -> Any:
        """Put an object where all actors can read it.

        Raises:
            RunError: this machine's node is gone, at which Ray would end this process.
        """
        if NODE not in self._open or _has_ended(self._open[NODE]):
            self._reconnect(NODE)
        return ray.put(version)

    def _reconnect(self, name: str) -> None:
        """Open a connection, and keep it: its end is seen at once, and a new one for each message would take longer."""
        self._disconnect(name)
        host, port = self._needed.get(name, self._needed[HEAD])
        try:
            self._open[name] = socket.create_connection((host, port), timeout=ANSWERING)
        except OSError as error:
            raise RunError(f"{name} of the Ray cluster, at {host}:{port}, does not answer: {error}") from error
        self._open[name].setblocking(False)

    def _disconnect(self, name: str) -> None:
        if name in self._open:
            self._open.pop(name).close()

    def start(self) -> Any:
        """Start an actor, which has no collector yet."""
        return self._make.remote(list(sys.path))

    def close(self) -> None:
        """Leave the cluster, and shut it down if it was started for this run."""
        for name in self._needed:
            self._disconnect(name)
        if self._is_ours and ray.is_initialized():
            ray.shutdown()


def get(reference: Any, seconds: float | None = None) -> Any:
    """The result of a call of an actor.

    Raises:
        LostActor: it died, or does not answer within ``seconds``.
        Exception: the one that the call raised.
    """
    try:
        return ray.get(reference, timeout=seconds)
    except ray.exceptions.RayTaskError as failed:
        raise failed.cause from failed
    except ray.exceptions.GetTimeoutError as late:
        raise LostActor(f"did not answer within {seconds:g} s") from late
    except ray.exceptions.RayActorError as dead:
        raise LostActor(f"died ({_reason(dead)})") from dead
    except ray.exceptions.RayError as lost:
        raise RunError(f"the Ray cluster failed: {_reason(lost)}") from lost


def check_versions(actor: Any) -> None:
    """Check that an actor's machine has the versions of this one.

    Raises:
        LostActor: it cannot start.
        ValueError: it has others.
    """
    theirs = get(actor.versions.remote(), STARTING)
    different = [f"{name} {theirs[name]} (here {own})" for name, own in versions().items() if own != theirs[name]]
    if different:
        raise ValueError(f"a machine of the Ray cluster has {', '.join(different)}; install the same versions on all")


def kill(actor: Any) -> None:
    """End an actor at once."""
    ray.kill(actor)


def pickled(parts: Any) -> bytes:
    """An object as ``pickle`` reads it on any machine, with classes of scripts by value."""
    return ray.cloudpickle.dumps(parts)


def first_ready(references: list[Any], seconds: float) -> Any | None:
    """The first of several calls that has a result, or has failed; None if none has within ``seconds``."""
    ready, _ = ray.wait(references, timeout=seconds)
    return ready[0] if ready else None


def _connect(address: str | None) -> None:
    handlers = {number: signal.getsignal(number) for number in STOP_SIGNALS}
    silent: dict[str, Any] = {"include_dashboard": False, "log_to_driver": False, "logging_level": logging.ERROR}
    if address is None:
        # by default Ray gives its workers nice value 15: they would hardly run beside other processes
        silent |= {"object_store_memory": OBJECT_STORE, "_system_config": {"worker_niceness": 0}}
    elif address != "auto":
        _check_answers(address)
    os.environ.setdefault("RAY_gcs_server_port_wait_time_s", str(CONNECTING))
    try:
        ray.init(address=address or "local", **silent)
    except (ConnectionError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
        if address is None:
            raise ValueError(f"Ray cannot start on this machine: {_reason(error)}") from error
        lines = [line.strip().replace(": ", " ") for line in str(error).splitlines()]
        if len(found := [line for line in lines if line.startswith(("Ray ", "Python "))]) == 4:  # theirs and ours
            raise ValueError(
                f"the Ray cluster at '{address}' has {found[0]} and {found[1]} (here {found[2]} and {found[3]}); "
                "install the same versions on all"
            ) from error
        remedy = "with token authentication, RAY_AUTH_MODE=token and the cluster's token are needed here as well"
        raise ValueError(f"no Ray cluster answers at '{address}': {_reason(error)}; {remedy}") from error
    except SystemExit as ended:  # of Ray's own handler
        raise SystemExit(128 + signal.SIGTERM) from ended
    finally:  # Ray handles SIGTERM by itself, which would lose the checkpoint of a stopped run
        for number, handler in handlers.items():
            signal.signal(number, _exit if handler == signal.SIG_DFL else handler)


def _exit(number: int, frame: Any) -> None:
    """Leave in order, in place of a signal's default: killed at once, a process leaves Ray running for a minute."""
    raise KeyboardInterrupt(number)  # a SystemExit may be an environment's, and is taken for one


def _check_answers(address: str) -> None:
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit():
        raise ValueError(f"expected address=HOST:PORT of a Ray cluster, auto, or null, got '{address}'")
    fault = _no_connection(host, int(port), seconds=CONNECTING) or _not_grpc(host, int(port), seconds=CONNECTING)
    if fault is not None:
        raise ValueError(f"no Ray cluster answers at '{address}': {fault}; start one by ray start --head")


def _not_grpc(host: str, port: int, *, seconds: float) -> str | None:
    """Why what answers is no gRPC server, for which Ray would wait for minutes; None if it may be one."""
    if os.environ.get("RAY_USE_TLS", "0") not in ("0", ""):
        return None
    try:
        with socket.create_connection((host, port), timeout=seconds) as connection:
            connection.sendall(HTTP2_GREETING)
            answer = connection.recv(4)
    except OSError as error:
        return str(error)
    return None if answer[3:] == HTTP2_SETTINGS else "another program listens there"


def _no_connection(host: str, port: int, *, seconds: float) -> str | None:
    """Why no connection can be made; None if one can."""
    try:
        socket.create_connection((host, port), timeout=seconds).close()
    except OSError as error:
        return str(error)
    return None


def _has_ended(connection: socket.socket) -> bool:
    """Whether the other side has closed a connection that does not block."""
    try:
        while connection.recv(4096):
            pass  # what a server says first
    except BlockingIOError:
        return False
    except OSError:
        pass
    return True


def _reason(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    return lines[-1] if "creation task" in lines[0] else lines[0].rstrip(".")  # the last line of a traceback
