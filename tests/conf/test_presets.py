"""Every preset trains: a few updates of each, on its own environment, with a small replay and small batches."""

import math
import re
from pathlib import Path

import pytest

from qframe.config import build
from qframe.config.compose import compose
from qframe.loggers.console import Report
from qframe.training import ray_cluster
from tests.local_ray import LocalRay

EXPERIMENTS = sorted((Path(__file__).parents[2] / "conf" / "experiment").glob("*.yaml"))
SMALL = ("total_frames=40", "env.num_envs=2", "logger.tensorboard=false", "compile=false")
REPLAY = (
    "replay.capacity=400", "replay.batch_size=4", "runner.learning_starts=24", "runner.every=4", "runner.updates=1",
)  # fmt: skip
SLICES = (*REPLAY, "replay.slice_length=4", "replay.burn_in=1", "replay.stride=1")
ROLLOUT = ("replay.steps=10", "replay.slice_length=5", "replay.minibatches=1", "replay.epochs=2")


@pytest.mark.parametrize("path", EXPERIMENTS, ids=lambda path: path.stem)
def test_a_preset_updates_its_network(path, tmp_path, monkeypatch, request):
    text = path.read_text(encoding="utf-8")
    layout = re.search(r"override /replay: (\w+)", text)
    smaller = {"rollout": ROLLOUT, "slices": SLICES}.get(layout[1] if layout else "", REPLAY)
    if "override /collector: ray" in text:
        smaller = (*smaller, "collector.actors=2")
        monkeypatch.setattr(ray_cluster, "ray", local := LocalRay())
        request.addfinalizer(local.close_head)
    config = compose([f"experiment={path.stem}", *SMALL, *smaller], provided=build.PROVIDED)
    runner = build.build(config, tmp_path / "run", report=Report())
    before = [parameter.detach().clone() for parameter in runner.network.parameters()]
    try:
        runner.train(40)
    finally:
        runner.collector.close()
    assert runner.learner.updates == 4
    assert math.isfinite(runner.learner.take_metrics()["loss/loss"])
    assert any(not b.equal(p) for b, p in zip(before, runner.network.parameters(), strict=True))
