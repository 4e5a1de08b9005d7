import os
import re
import subprocess
import sys

import pytest

from qframe.runs.folder import write_json
from qframe.runs.run_name import job_folder
from qframe.sweeps.folder import SweepFolder


def test_jobs_of_an_earlier_launch_keep_their_numbers_and_new_ones_come_after(tmp_path):
    folder = SweepFolder(tmp_path)
    first = folder.numbered([("seed=1",), ("seed=2",)])
    assert first == {0: ("seed=1",), 1: ("seed=2",)}
    folder.write_jobs(first)
    assert folder.numbered([("seed=0",), ("seed=2",), ("seed=1",)]) == {
        0: ("seed=1",), 1: ("seed=2",), 2: ("seed=0",)
    }  # fmt: skip
    assert folder.numbered([("seed=2",)]) == {1: ("seed=2",)}


def test_a_number_is_the_jobs_whatever_the_order_of_its_overrides(tmp_path):
    folder = SweepFolder(tmp_path)
    folder.write_jobs({4: ("seed=1", "head=scalar")})
    assert folder.numbered([("head=scalar", "seed=1")]) == {4: ("head=scalar", "seed=1")}


def test_jobs_of_earlier_launches_stay_known(tmp_path):
    folder = SweepFolder(tmp_path)
    folder.write_jobs({0: ("seed=1",)})
    folder.write_jobs({1: ("seed=2",)})
    assert folder.earlier() == {0: ("seed=1",), 1: ("seed=2",)}


def test_folders_are_named_by_the_differences_of_jobs_and_keep_their_names(tmp_path):
    folder = SweepFolder(tmp_path)
    folder.write_jobs({0: ("seed=1", "gamma=0.9"), 1: ("seed=2", "gamma=0.9")})
    assert [folder.job(number).name for number in (0, 1)] == ["0-seed=1", "1-seed=2"]
    folder.job(0).mkdir()
    again = SweepFolder(tmp_path)
    again.write_jobs({0: ("seed=1", "gamma=0.9"), 2: ("seed=1", "gamma=1.0", "trunk.num_cells=[8,8]")})
    names = [again.job(number).name for number in (0, 2)]
    assert names == ["0-seed=1", "2-seed=1,gamma=1.0,num_cells=8_8"]
    again.write_jobs({3: ("env.id=a/b:c*?", f"name={'x' * 300}", "seed=1")})
    assert again.job(3).name == f"3-{job_folder(3, ['id=a/b:c*?'])[2:]},2_more_{again.job(3).name[-6:]}"
    assert len(again.job(3).name) < 100


@pytest.mark.parametrize(
    ("status", "standing", "is_done"),
    [
        ("finished", "finished: skipped", True),
        ("pruned", "pruned: skipped", True),
        ("running", "unfinished: starts again", False),
        ("stopped", "unfinished: starts again", False),
        ("failed", "failed: starts again", False),
        ("refused", "refused: starts again", False),
    ],
)
def test_the_plan_for_a_job(tmp_path, status, standing, is_done):
    folder = SweepFolder(tmp_path)
    assert folder.plan(0) == "new"
    write_json(folder.job(0) / "summary.json", {"status": status})
    assert (folder.plan(0), folder.is_done(0)) == (standing, is_done)


def test_a_half_written_summary_is_not_a_finished_job(tmp_path):
    folder = SweepFolder(tmp_path)
    folder.job(0).mkdir()
    (folder.job(0) / "summary.json").write_text('{"status": "fini')
    assert folder.is_done(0) is False


def test_a_sweep_that_runs_is_not_launched_twice(tmp_path):
    imports = "from pathlib import Path; from qframe.sweeps.folder import SweepFolder"
    command = [sys.executable, "-c", f"{imports}; SweepFolder(Path({str(tmp_path)!r})).lock.acquire()"]
    with SweepFolder(tmp_path).lock:
        other = subprocess.run(command, capture_output=True, text=True, check=False)
    message = rf"Locked: the sweep in .* is being run by process {os.getpid()} on .*; wait for it, stop it, or choose"
    assert re.search(message, other.stderr)
    assert subprocess.run(command, check=False).returncode == 0
