"""Where a replay is kept: a device that is there, a disk with room."""

import errno
import os
import shutil
import tempfile
from pathlib import Path
from types import SimpleNamespace

import gymnasium as gym
import numpy as np
import pytest
import torch

from qframe.cli.main import main
from qframe.config import build, memory_prediction
from qframe.config.compose import compose
from qframe.config.memory_prediction import larger_than_machine, memory_line
from qframe.errors import RunError
from qframe.loggers.console import Report
from qframe.replay import FrameReplayBuffer, ReplayBuffer, SliceReplayBuffer
from qframe.replay.storage import FrameStorage, zeros
from tests import probes

MAKERS = [
    lambda device: ReplayBuffer(100, 4, gamma=0.9, device=device),
    lambda device: FrameReplayBuffer(100, 4, gamma=0.9, device=device),
    lambda device: SliceReplayBuffer(100, 4, gamma=0.9, slice_length=2, device=device),
]


@pytest.mark.parametrize("make", MAKERS, ids=["transitions", "frames", "slices"])
def test_a_device_that_is_not_there_is_refused(make, monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(ValueError, match="this machine has no device 'cuda:1'; use cpu"):
        make("cuda:1")
    with pytest.raises(ValueError, match="expected a device such as cpu or cuda, got 'gpu'"):
        make("gpu")
    assert make("cpu").device == torch.device("cpu")


def test_the_device_is_a_key(capsys, monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    assert main(["check", "replay.device=cuda"]) == 2
    assert "replay: this machine has no device 'cuda'; use cpu" in capsys.readouterr().err


def test_a_replay_larger_than_the_devices_memory_is_refused(monkeypatch):
    parts = build.parts(compose(["replay.capacity=1M"], provided=build.PROVIDED))
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (10**7, 2 * 10**7))
    assert larger_than_machine(parts, {}) is None
    parts.replay.device = torch.device("cuda:0")
    assert larger_than_machine(parts, {}) == (
        "too large for the memory of cuda:0: 64.0 MB (1,000,000 × 64 bytes), and there are 0.0 GB of memory of cuda:0, "
        "of which a replay may take 85%; replay.capacity=265625 fits"
    )


def test_the_state_of_a_memory_is_predicted(tmp_path):
    words = ["memory=lstm", "memory.inputs=[action,reward]", "env.num_envs=2", "logger.tensorboard=false"]
    runner = build.build(compose(words, provided=build.PROVIDED), tmp_path / "run", report=Report())
    try:
        runner.replay.extend(runner.collector.collect())
    finally:
        runner.collector.close()
    stored = sum(leaf[0].nbytes for leaf in runner.replay._storage.leaves.values())
    predicted = sum(memory_prediction._row(build.parts(compose(words, provided=build.PROVIDED))))
    assert stored <= predicted <= stored + 24  # rounded up, and the place in the episode


OLDER = "memory/slice/memory.limit_in_bytes"


@pytest.mark.parametrize(("limit_text", "found"), [("75294118", 75_294_118), ("max", None), ("75294117", 75_294_117)])
@pytest.mark.parametrize("place", ["memory.max", "slice/memory.max", "slice/job/memory.max", OLDER])
def test_a_containers_limit_counts(place, limit_text, found, tmp_path, monkeypatch):
    limit, of = tmp_path / place, tmp_path / "cgroup"
    limit.parent.mkdir(parents=True, exist_ok=True)
    of.write_text("0::/slice/job\n")
    limit.write_text(f"{limit_text}\n")
    limits = memory_prediction._limits(of, tmp_path)
    assert limits == ([] if found is None else [found])
    parts = build.parts(compose(["replay.capacity=1M"], provided=build.PROVIDED))
    monkeypatch.setattr(memory_prediction, "_limits", lambda: limits)
    assert ("there are 0.1 GB of memory" in str(larger_than_machine(parts, {}))) == (limit_text == "75294117")


def test_a_disk_is_named_by_its_folder(tmp_path, monkeypatch):
    parts = build.parts(compose([*ATARI, "replay=frames", "replay.storage=disk"], provided=build.PROVIDED))
    assert memory_line(parts) == (
        "14.1 MB (2,000 × 7,056 bytes of observations) on disk, 0.0 MB (2,000 × 24 bytes) in memory"
    )
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=14_111_999))
    assert larger_than_machine(parts, {}) == (
        "too large for the disk: 14.1 MB of observations (2,000 × 7,056 bytes), and there are 0.0 GB free in "
        f"'{tmp_path}', the folder that TMPDIR names; replay.capacity=1999 fits"
    )


def test_what_a_replay_on_disk_keeps_in_memory_has_to_fit_there(monkeypatch):
    parts = build.parts(compose([*ATARI, "replay=frames", "replay.storage=disk"], provided=build.PROVIDED))
    monkeypatch.setattr(memory_prediction, "_limits", lambda: [56_471])
    assert larger_than_machine(parts, {}) is None
    monkeypatch.setattr(memory_prediction, "_limits", lambda: [56_470])
    assert larger_than_machine(parts, {}) == (
        "too large for the memory: 0.0 MB of all but the observations, which stay in memory (2,000 × 24 bytes), "
        "and there are 0.0 GB of memory, of which a replay may take 85%; replay.capacity=1999 fits"
    )


@pytest.mark.parametrize(("room", "is_said"), [(127_999_999, True), (128_000_000, False)])
def test_a_replay_above_half_of_the_memory_is_warned_of(monkeypatch, tmp_path, capsys, room, is_said):
    monkeypatch.setattr(memory_prediction, "_limits", lambda: [room])
    assert main(["check", "replay.capacity=1M"]) == 0
    note = "warning: replay: it will take 50% of the 0.1 GB of memory; if that is not free, lower replay.capacity"
    assert (note in capsys.readouterr().out) is is_said
    words = ["replay.capacity=1M", "total_frames=64", "runner.learning_starts=32", f"hydra.run.dir={tmp_path}"]
    assert main(["train", *words]) == 0
    assert (note in capsys.readouterr().out) is is_said


class Unsigned(probes.Counter):
    """Its observations are stored as signed numbers, twice as wide."""

    def __init__(self):
        super().__init__()
        self.observation_space = gym.spaces.Box(0, 9, (10,), np.uint16)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return np.zeros(10, np.uint16), {}

    def step(self, action):
        return np.zeros(10, np.uint16), *super().step(action)[1:]


@pytest.fixture(autouse=True)
def registered():
    gym.register("qframe-test/Unsigned-v0", Unsigned)
    yield
    del gym.registry["qframe-test/Unsigned-v0"]


ATARI = ["env=atari", "trunk=nature", "replay.capacity=2000"]
LEGAL = ["env=gymnasium", "env.id=qframe-test/Legal-v0"]
ENSEMBLE = ["network=ensemble", "exploration=bootstrapped", "exploration.bootstrap_probability=0.5"]
STORED = [
    (["replay.capacity=2000"], 64),
    (["priorities=proportional", "replay.capacity=2000"], 72),
    (["replay=slices", "estimator=retrace", "replay.capacity=2000"], 72),
    (["replay=slices", "priorities=proportional", "estimator=td_lambda", "replay.capacity=2000"], 80),
    ([*ENSEMBLE, "replay.capacity=2000"], 72),
    ([*ATARI, "replay=frames"], 7080),
    ([*ATARI, "replay=frames", "priorities=proportional"], 7088),
    ([*LEGAL, "replay.capacity=2000"], 56),
    (["env=gymnasium", "env.id=qframe-test/Unsigned-v0", "replay.capacity=2000"], 112),
]  # fmt: skip


@pytest.mark.parametrize(("words", "each"), STORED)
def test_the_prediction_is_what_a_replay_then_takes(words, each, tmp_path):
    config = compose(words, provided=build.PROVIDED)
    assert f"(2,000 × {each:,} bytes, " in memory_line(build.parts(config))
    runner = build.build(config, tmp_path, report=Report())
    try:
        while not len(runner.replay):
            runner.replay.extend(runner.collector.collect())
    finally:
        runner.collector.close()
        runner.folder.lock.release()
    assert taken(runner.replay) == pytest.approx(2000 * each, abs=2000 * 8)


def taken(thing, seen=None):
    """The bytes of every array and tensor of at least a byte per row that hangs on it."""
    seen = {} if seen is None else seen
    if isinstance(thing, torch.Tensor):
        seen[thing.untyped_storage().data_ptr()] = thing.untyped_storage().nbytes()
    elif isinstance(thing, np.ndarray):
        base = thing if thing.base is None else thing.base
        seen[id(base)] = getattr(base, "nbytes", thing.nbytes)
    elif isinstance(thing, dict | list | tuple):
        for inner in thing.values() if isinstance(thing, dict) else thing:
            taken(inner, seen)
    elif type(thing).__module__.startswith("qframe") and id(thing) not in seen:
        seen[id(thing)] = 0
        taken(vars(thing), seen)
    return sum(size for size in seen.values() if size >= 2000)


def test_a_disk_without_room_is_reported_before_a_frame_is_written(monkeypatch):
    def full(*arguments):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "posix_fallocate", full)
    storage = FrameStorage(1000, "disk")
    with pytest.raises(ValueError, match="GB of room on disk .* No space left on device; lower") as refusal:
        storage.write(torch.tensor([0]), torch.zeros(1, 84, 84, dtype=torch.uint8))
    assert isinstance(refusal.value, RunError)


def test_processes_that_are_forked_do_not_get_the_replay():
    """Pages that are written later would be there twice; the kernel's flag for that is dc, do not copy on fork."""
    replay = zeros((1000, 1000), torch.float32, torch.device("cpu"))
    is_its, flags = False, []
    for first, *rest in map(str.split, Path("/proc/self/smaps").read_text().splitlines()):
        if "-" in first:
            low, high = (int(end, 16) for end in first.split("-"))
            is_its = low <= replay.data_ptr() < high
        elif is_its and first == "VmFlags:":
            flags = rest
    assert "dc" in flags
