"""Actors on a Ray that is started for the run: as in one process, an actor's death included, and nothing is left."""

import os
import signal

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
    runner = made(tmp_path / "b", steps=8)
    try:
        runner.train(300)
        os.kill(actors(os.getpid())[0], signal.SIGKILL)
        runner.train(600)
    finally:
        runner.collector.close()
    parameters = torch.cat([p.detach().flatten() for p in runner.network.parameters()])
    assert_same(whole, (parameters, runner.replay.stored))
    assert sum(actor.restarts for actor in runner.collector._actors) == 1
    assert not actors(os.getpid())
    assert not ray_cluster.ray.is_initialized()
