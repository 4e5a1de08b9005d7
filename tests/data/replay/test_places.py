"""Where a replay is kept: a device that is there, a disk with room."""

import errno
import os
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from qframe.cli.main import main
from qframe.config import build
from qframe.config.compose import compose
from qframe.config.memory import larger_than_machine
from qframe.data import FrameReplayBuffer, ReplayBuffer, SliceReplayBuffer
from qframe.data.replay.frame_storage import FrameStorage
from qframe.data.replay.memory import zeros

MAKERS = [
    lambda device: ReplayBuffer(100, 4, gamma=0.9, device=device),
    lambda device: FrameReplayBuffer(100, 4, gamma=0.9, device=device),
    lambda device: SliceReplayBuffer(100, 4, gamma=0.9, slice_length=2, device=device),
]


@pytest.mark.parametrize("make", MAKERS, ids=["uniform", "frames", "slices"])
def test_a_device_that_is_not_there_is_refused(make, monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(ValueError, match="expected a device that this machine has, got 'cuda:1'; use cpu"):
        make("cuda:1")
    with pytest.raises(ValueError, match="expected a device such as cpu or cuda, got 'gpu'"):
        make("gpu")
    assert make("cpu").device == torch.device("cpu")


def test_the_device_is_a_key(capsys, monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    assert main(["check", "replay.device=cuda"]) == 2
    assert "replay: expected a device that this machine has, got 'cuda'; use cpu" in capsys.readouterr().err


def test_a_replay_larger_than_the_devices_memory_is_refused(monkeypatch):
    parts = build.parts(compose(["replay.capacity=1M"], provided=build.PROVIDED))
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (10**7, 2 * 10**7))
    assert larger_than_machine(parts, {}) is None
    replay = SimpleNamespace(capacity=1_000_000, observations_per_row=2, device=torch.device("cuda:0"))
    parts = SimpleNamespace(envs=parts.envs, replay=replay)
    assert larger_than_machine(parts, {}) == (  # pyright: ignore
        "expected a capacity that fits the memory of cuda:0, got 1,000,000: 32.0 MB of observations (1,000,000 × "
        "32 bytes), this machine has 0.0 GB of memory of cuda:0"
    )


def test_a_disk_without_room_is_told_before_a_frame_is_written(monkeypatch):
    def full(*arguments):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "posix_fallocate", full)
    storage = FrameStorage(1000, "disk")
    with pytest.raises(ValueError, match="GB of room on disk .* No space left on device; lower") as refusal:
        storage.write(torch.tensor([0]), torch.zeros(1, 84, 84, dtype=torch.uint8))
    assert refusal.value.exit_status == 2


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
