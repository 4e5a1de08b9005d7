"""Actors on a Ray that is started for the run: as in one process, an actor's death included, and nothing is left."""

import os
import signal
import socket
import threading

import pytest
import torch

from qframe.training import ray_cluster
from scripts.actor_kills import actors
from tests.local_ray import LocalRay
from tests.training.test_ray_collector import assert_same, made, trained


def test_a_run_with_a_killed_actor_is_that_of_one_process_and_leaves_no_process(tmp_path, monkeypatch):
    with monkeypatch.context() as changed:
        changed.setattr(ray_cluster, "ray", local := LocalRay())
        whole = trained(made(tmp_path / "a", steps=8))
        local.close_head()
    earlier = signal.signal(signal.SIGTERM, signal.SIG_DFL)
    runner = made(tmp_path / "b", steps=8)
    try:
        with pytest.raises(KeyboardInterrupt, match="15"):
            signal.raise_signal(signal.SIGTERM)  # before the run has handlers of its own
        runner.train(300)
        os.kill(actors(os.getpid())[0], signal.SIGKILL)
        runner.train(600)
    finally:
        runner.collector.close()
        signal.signal(signal.SIGTERM, earlier)
    parameters = torch.cat([p.detach().flatten() for p in runner.network.parameters()])
    assert_same(whole, (parameters, runner.replay.stored))
    assert sum(actor.restarts for actor in runner.collector._actors) == 1
    assert not actors(os.getpid())
    assert not ray_cluster.ray.is_initialized()


@pytest.mark.parametrize("answer", [b"HTTP/1.0 400 Bad Request\r\n", b""])
def test_a_port_at_which_no_ray_answers_is_refused_at_once(answer):
    def serve():
        for text in (b"", answer):  # the first connection only looks whether a port is open
            with server.accept()[0] as connection:
                connection.recv(100)
                connection.sendall(text)

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=serve)
        thread.start()
        address = f"127.0.0.1:{server.getsockname()[1]}"
        with pytest.raises(ValueError, match=f"no Ray cluster answers at '{address}': another program listens there"):
            ray_cluster.Cluster(address, actors=1, cpus=1.0, resources={})
        thread.join()
    assert not ray_cluster.ray.is_initialized()


def test_a_cluster_of_other_versions_is_refused(monkeypatch):
    message = """Version mismatch: The cluster was started with:
    Ray: 2.50.0
    Python: 3.11.7
This process on node 192.0.2.1 was started with:
    Ray: 2.60.0
    Python: 3.12.1
"""

    def init(**_):
        raise RuntimeError(message)

    monkeypatch.setattr(ray_cluster.ray, "init", init)
    with pytest.raises(ValueError, match=r"has Ray 2.50.0 and Python 3.11.7 \(here Ray 2.60.0 and Python 3.12.1\)"):
        ray_cluster.Cluster("auto", actors=1, cpus=1.0, resources={})
