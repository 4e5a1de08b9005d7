"""A stand-in for Ray in one process, whose calls are made when their results are asked for."""

import pickle
import socket
from types import SimpleNamespace
from typing import Any

from ray import cloudpickle, exceptions


class LocalRay:
    """The functions of Ray that actors need. Its actors die when a test says so."""

    cloudpickle, exceptions = cloudpickle, exceptions

    def __init__(self, cpus: float = 64.0) -> None:
        self.cpus, self.actors = cpus, list[LocalActor]()
        self._server = socket.create_server(("127.0.0.1", 0), backlog=64)  # that many wait, as none is accepted
        self.head = "127.0.0.1:" + str(self._server.getsockname()[1])
        self.dies = lambda actor, method: False
        """Whether an actor dies at a call of this method."""

    def close_head(self) -> None:
        """Stop answering connections."""
        self._server.close()

    def end_connections(self) -> None:
        """Close the connections that wait, as a node does with idle ones."""
        self._server.setblocking(False)
        try:
            while True:
                self._server.accept()[0].close()
        except BlockingIOError:
            pass

    def is_initialized(self) -> bool:
        return True

    def cluster_resources(self) -> dict[str, float]:
        return {"CPU": self.cpus}

    def nodes(self) -> list[dict[str, Any]]:
        host, _, port = self.head.rpartition(":")
        return [{"NodeID": "here", "NodeManagerAddress": host, "NodeManagerPort": int(port)}]

    def get_runtime_context(self) -> Any:
        return SimpleNamespace(gcs_address=self.head, get_node_id=lambda: "here")

    def remote(self, kind: type) -> Any:
        return SimpleNamespace(options=lambda **_: SimpleNamespace(remote=lambda *given: self._start(kind(*given))))

    def _start(self, served: Any) -> "LocalActor":
        self.actors.append(LocalActor(self, served))
        return self.actors[-1]

    def put(self, value: Any) -> "_Published":
        return _Published(value)

    def get(self, answer: "_Answer", timeout: float | None = None) -> Any:
        return answer.value()

    def wait(self, answers: list["_Answer"], timeout: float) -> tuple[list["_Answer"], list["_Answer"]]:
        return answers[:1], answers[1:]

    def kill(self, actor: "LocalActor") -> None:
        actor.is_dead = True


class LocalActor:
    def __init__(self, ray: LocalRay, served: Any) -> None:
        self.ray, self.served, self.is_dead = ray, served, False
        self._pending: list[_Answer] = []

    def __getattr__(self, method: str) -> Any:
        return SimpleNamespace(remote=lambda *given: _Answer(self, method, given))


class _Answer:
    """A call, made with those before it once its value is asked for."""

    def __init__(self, actor: LocalActor, method: str, given: tuple[Any, ...]) -> None:
        self._actor, self._method, self._given = actor, method, given
        self._value: Any = None
        self._is_made = False
        actor._pending.append(self)

    def value(self) -> Any:
        while not self._is_made:
            self._actor._pending.pop(0)._make()
        if isinstance(self._value, Exception):
            raise self._value
        return self._value

    def _make(self) -> None:
        self._is_made = True
        if self._actor.is_dead or self._actor.ray.dies(self._actor, self._method):
            self._actor.is_dead, self._value = True, exceptions.RayActorError(error_msg="died")
            return
        given = [pickle.loads(item.content) if isinstance(item, _Published) else item for item in self._given]
        try:
            self._value = pickle.loads(pickle.dumps(getattr(self._actor.served, self._method)(*given)))
        except Exception as error:
            self._value = exceptions.RayTaskError(self._method, "", error)


class _Published:
    def __init__(self, value: Any) -> None:
        self.content = pickle.dumps(value)
