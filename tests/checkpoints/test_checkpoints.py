"""Checkpoints: complete or absent, checked for damage, and with unchanged pages linked instead of written."""

import gc
import json
import os
import random
import weakref
from pathlib import Path

import numpy as np
import pytest
import torch
from tensordict import TensorDict

from qframe.checkpoints import Checkpoints, load_checkpoint
from qframe.checkpoints import files as checkpoint_files
from qframe.checkpoints.files import checksum, write_durably
from qframe.replay import ReplayBuffer, pages
from qframe.runs.checkpoint_names import checkpoints_in


def small_state(number=0):
    return {"run": {"frames": number, "name": "a"}, "learner": {"weight": torch.full((4,), float(number))}}


def saved(folder, *frames, keep=2):
    checkpoints = Checkpoints(every=1, keep=keep)
    for number in frames:
        checkpoints.save(folder, number, small_state(number))
    return checkpoints


def test_the_newest_checkpoint_is_read(tmp_path):
    saved(tmp_path, 5, 90, 100)
    state = load_checkpoint(tmp_path)
    assert (state["name"], state["run"]) == ("000000000100", {"frames": 100, "name": "a"})
    assert torch.equal(state["learner"]["weight"], torch.full((4,), 100.0))
    assert load_checkpoint(tmp_path, ["run"]).keys() == {"name", "run"}


@pytest.mark.parametrize(("keep", "left"), [(1, [40]), (2, [30, 40]), (3, [20, 30, 40]), (9, [10, 20, 30, 40])])
def test_the_last_k_are_kept(tmp_path, keep, left):
    saved(tmp_path, 10, 20, 30, 40, keep=keep)
    assert [int(path.name) for path in checkpoints_in(tmp_path)] == left == sorted(map(int, os.listdir(tmp_path)))


def test_two_checkpoints_of_one_frame_are_two(tmp_path):
    saved(tmp_path, *[7] * 12, keep=2)
    assert sorted(os.listdir(tmp_path)) == ["000000000007-10", "000000000007-11"]
    assert load_checkpoint(tmp_path)["name"] == "000000000007-11"


def test_remains_of_a_killed_save_or_another_run_are_removed(tmp_path):
    saved(tmp_path, 500)
    (tmp_path / ".new-123").mkdir()
    (tmp_path / ".new-123" / "run.pt").write_bytes(b"half")
    saved(tmp_path, 10)
    assert os.listdir(tmp_path) == ["000000000010"]


def test_a_resumed_run_removes_checkpoints_newer_than_its_own(tmp_path):
    saved(tmp_path, 10, 20, 30, keep=3)
    again = Checkpoints(every=1, keep=3)
    again.resume_from("000000000020")
    again.save(tmp_path, 25, small_state(25))
    assert sorted(map(int, os.listdir(tmp_path))) == [10, 20, 25]


def places(folder, count, seed):
    """Random places in the files of a checkpoint, every file's first and last byte among them."""
    rng = random.Random(seed)
    files = sorted(folder.iterdir())
    ends = [(file, place) for file in files for place in (0, file.stat().st_size - 1)]
    return ends + [(file, rng.randrange(file.stat().st_size)) for file in rng.choices(files, k=count - len(ends))]


@pytest.mark.parametrize("kind", ["flipped", "truncated"])
def test_damage_anywhere_is_recognised_and_the_one_before_is_used(tmp_path, kind):
    saved(tmp_path, 1, 2)
    newest = checkpoints_in(tmp_path)[-1]
    for file, place in places(newest, 100, seed=1):
        content = file.read_bytes()
        damaged = bytearray(content[:place] if kind == "truncated" else content)
        if kind == "flipped":
            damaged[place] ^= 1 << (place % 8)
        file.write_bytes(damaged)
        with pytest.warns(UserWarning, match=r"skipped damaged checkpoints: 0+2 \(.*\); using 0+1"):
            assert load_checkpoint(tmp_path)["run"]["frames"] == 1
        file.write_bytes(content)
    assert load_checkpoint(tmp_path)["run"]["frames"] == 2


def test_a_missing_file_is_damage_and_without_a_whole_checkpoint_loading_is_refused(tmp_path):
    saved(tmp_path, 1)
    (tmp_path / "000000000001" / "learner.pt").unlink()
    with pytest.raises(ValueError, match=r"are damaged: 000000000001 \(learner.pt: No such file"):
        load_checkpoint(tmp_path)
    with pytest.raises(ValueError, match="there is no checkpoint in"):
        load_checkpoint(tmp_path / "elsewhere")


@pytest.mark.parametrize(
    ("number", "message"),
    [
        (2, "has format 2, but this version reads format 4; qframe 0.1.0 reads it"),
        (5, "has format 5, but this version reads format 4; a newer qframe may read it"),
    ],
)
def test_another_format_is_refused_with_its_number_and_its_reader(tmp_path, number, message):
    saved(tmp_path, 1)
    content = json.loads((tmp_path / "000000000001" / "manifest.json").read_text())
    content = {"format": number, "frames": 1, "files": content["files"]}
    (tmp_path / "000000000001" / "manifest.json").write_bytes(checkpoint_files._rendered(content))
    with pytest.raises(ValueError, match=f"000000000001 {message}"):
        load_checkpoint(tmp_path)


def steps(count, start):
    number = torch.arange(start, start + count).float()[:, None]
    never = torch.zeros(count, 1, dtype=torch.bool)
    flags = {"terminated": never, "truncated": never, "done": never}
    rows = {"observation": number, "action": number[:, 0].long(), "env": torch.zeros(count, dtype=torch.int64)}
    return TensorDict({**rows, "next": {"observation": number + 1, "reward": number, **flags}}, [count])


def test_only_changed_pages_are_written_and_kept_checkpoints_share_no_file(tmp_path, monkeypatch):
    monkeypatch.setattr(pages, "PAGE_BYTES", 400)
    buffer, checkpoints = ReplayBuffer(1000, 8, gamma=0.9), Checkpoints(every=1, keep=2)
    buffer.extend(steps(1000, 0))
    written = []
    for number in range(1, 6):
        before = {path: path.stat().st_ino for path in tmp_path.rglob("*.pt")}
        checkpoints.save(tmp_path, number, {"replay": buffer.state_dict(live=True)})
        newest = checkpoints_in(tmp_path)[-1]
        written.append(sum(path.stat().st_ino not in before.values() for path in newest.glob("replay.rows.*")))
        buffer.extend(steps(20, 1000 * number))
    num_pages = -(-1000 // buffer._storage._marks.rows_per_page)
    assert written[:2] == [num_pages, num_pages]
    assert all(count <= num_pages // 10 for count in written[2:])
    inodes = [{file.stat().st_ino for file in path.iterdir()} for path in checkpoints_in(tmp_path)]
    assert len(inodes) == 2
    assert not inodes[0] & inodes[1]
    other = ReplayBuffer(1000, 8, gamma=0.9)
    other.load_state_dict(load_checkpoint(tmp_path)["replay"])
    index = torch.arange(1000)
    rows, expected = other._storage.read(index), (own := ReplayBuffer(1000, 8, gamma=0.9))._storage
    for start in (0, 1000, 2000, 3000, 4000):
        own.extend(steps(1000 if start == 0 else 20, start))
    for key, leaf in expected.read(index).items():
        np.testing.assert_array_equal(rows[key], leaf)


@pytest.mark.parametrize(("option", "message"), [({"every": 0, "keep": 1}, "every"), ({"every": 1, "keep": 0}, "keep")])
def test_numbers_below_1_are_refused(option, message):
    with pytest.raises(ValueError, match=f"expected {message} of at least 1"):
        Checkpoints(**option)


def test_the_size_and_checksum_of_a_file_are_those_of_its_content(tmp_path):
    entry = write_durably(tmp_path / "a.pt", lambda file: torch.save({"weight": torch.arange(1000)}, file))
    content = (tmp_path / "a.pt").read_bytes()
    assert entry == {"bytes": len(content), "checksum": checksum(content)}
    assert torch.equal(torch.load(tmp_path / "a.pt")["weight"], torch.arange(1000))


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="a system without /dev/full")
@pytest.mark.parametrize("size", [1, 10**6])  # what is written when the file is closed, and at once
def test_a_full_disk_is_reported_as_such(size):
    with pytest.raises(OSError, match="No space left on device"):
        write_durably(Path("/dev/full"), lambda file: torch.save(torch.zeros(size), file))


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="a system without /dev/full")
def test_a_full_disk_keeps_nothing_that_its_callers_held():
    """An error that stays within reach of torch's writer keeps all frames below it: the games too, to the very end."""

    class Held:
        pass

    def save():
        held = Held()
        holding.append(weakref.ref(held))
        write_durably(Path("/dev/full"), lambda file: torch.save(torch.zeros(10**6), file))

    holding: list[weakref.ref[Held]] = []
    with pytest.raises(OSError, match="No space left on device") as caught:
        save()
    del caught
    gc.collect()
    assert holding[0]() is None
