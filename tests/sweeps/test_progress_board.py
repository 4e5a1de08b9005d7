"""What a sweep shows."""

import json
from pathlib import Path

import pytest
from rich.console import Console

from qframe.runs.swept import Swept
from qframe.sweeps.job_spec import JobSpec
from qframe.sweeps.progress_board import ProgressBoard
from qframe.sweeps.results_table import results_table


def printed(what, width):
    console = Console(width=width)
    with console.capture() as capture:
        console.print(what)
    return capture.get()


@pytest.mark.parametrize("width", [60, 120])
def test_numbers_are_whole_on_a_narrow_terminal_and_reasons_stand_below(width):
    overrides = ["seed=1", "head=implicit_quantile"]
    summaries = {
        Path("/x/0"): {"status": "finished", "frames": 4_000, "overrides": overrides},
        Path("/x/1"): {"status": "failed", "frames": 12_345, "overrides": overrides, "reason": "it [bold]broke[/bold]"},
        Path("/x/3"): {"status": "failed", "overrides": overrides, "reason": "it [bold]broke[/bold]"},
        Path("/x/2"): {"status": "stopped", "frames": 7, "overrides": overrides, "reason": "stopped at 7 frames"},
    }
    results = {path: (summary, 1234.5 if path.name == "0" else None) for path, summary in summaries.items()}
    text = printed(results_table(results, Swept(("seed", "head")), "eval_return_mean"), width)
    assert "…" not in text
    for shown in ("finished", "1,234.5", "12,345", "eval_return_mean", "jobs 1, 3 failed: it [bold]broke[/bold]"):
        assert shown in text
    assert "stopped at" not in text


def test_jobs_are_sorted_by_score_with_their_means_over_seeds():
    scores = {("scalar", 1): 3.0, ("scalar", 2): 5.0, ("quantile", 1): 20.0, ("quantile", 2): None}
    results = {
        Path(f"/x/{job}-head={head},seed={seed}"): (
            {"status": "finished", "frames": 100, "overrides": [f"head={head}", f"seed={seed}"]}, score
        )
        for job, ((head, seed), score) in enumerate(scores.items())
    }  # fmt: skip
    text = printed(results_table(results, Swept(("head", "seed")), "eval_return_mean"), 120)
    rows = [line.split() for line in text.splitlines() if line.split()[:1] and "─" not in line]
    assert rows == [
        ["job", "head", "seed", "status", "eval_return_mean", "frames"],
        ["2", "quantile", "1", "finished", "20.0", "100"],
        ["1", "scalar", "2", "finished", "5.00", "100"],
        ["0", "scalar", "1", "finished", "3.00", "100"],
        ["3", "quantile", "2", "finished", "-", "100"],
        ["head", "seeds", "mean", "eval_return_mean", "range"],
        ["quantile", "1", "20.0", "20.0", "…", "20.0"],
        ["scalar", "2", "4.00", "±", "1.41", "3.00", "…", "5.00"],
    ]


def test_the_time_left_and_the_best_job_so_far(tmp_path, monkeypatch):
    now = [100.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    board = ProgressBoard(4, Swept(("seed",)), Console(width=100))
    jobs = [JobSpec(number, tmp_path / str(number), (f"seed={number}",), {"total_frames": 100}) for number in range(2)]
    for job in jobs:
        job.folder.mkdir()
        board.started(job)
    (jobs[1].folder / "metrics.jsonl").write_text('{"frames": 50}\n')
    now[0] += 30.0
    board.ended(jobs[0], {"status": "finished", "eval_return_mean": 7.0})
    text = printed(board._table([jobs[1]]), 100)
    assert "1 of 4 jobs ended: 1 finished; ETA 50 s" in text  # 1.5 jobs in 30 s, 2.5 left
    assert "best 7.00, job 0 seed=0" in text


@pytest.mark.parametrize(("width", "has_speed"), [(60, False), (80, True)])
def test_the_live_table_fits(tmp_path, width, has_speed):
    (tmp_path / "metrics.jsonl").write_text(
        json.dumps({"frames": 3_000, "time/frames_per_second": 777.0, "train/episode_return": 20.25}) + "\n"
        '{"frames": 3000, "eval/episode_return": 31.5}\n{"cut o'
    )
    job = JobSpec(3, tmp_path, ("seed=1", "head=implicit_quantile"), {"total_frames": 4_000})
    board = ProgressBoard(9, Swept(("seed", "head")), Console(width=width))
    text = printed(board._table([job]), width)
    assert "0 of 9 jobs ended" in text
    for shown in ("3,000  75%", "20.2", "31.5"):
        assert shown in text
    assert ("777" in text) is has_speed
    assert "…" not in text
