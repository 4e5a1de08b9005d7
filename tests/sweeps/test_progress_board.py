"""What a sweep shows."""

import json
from pathlib import Path

import pytest
from rich.console import Console

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
    text = printed(results_table(summaries, list, {Path("/x/0"): 1234.5}, "eval_return_mean"), width)
    assert "…" not in text
    for shown in ("finished", "1,234.5", "12,345", "eval_return_mean", "jobs 1, 3 failed: it [bold]broke[/bold]"):
        assert shown in text
    assert "stopped at" not in text


@pytest.mark.parametrize(("width", "has_speed"), [(60, False), (80, True)])
def test_the_live_table_fits(tmp_path, width, has_speed):
    (tmp_path / "metrics.jsonl").write_text(
        json.dumps({"frames": 3_000, "time/frames_per_second": 777.0, "train/episode_return": 20.25}) + "\n"
        '{"frames": 3000, "eval/episode_return": 31.5}\n{"cut o'
    )
    job = JobSpec(3, tmp_path, ("seed=1", "head=implicit_quantile"), {"total_frames": 4_000})
    text = printed(ProgressBoard(9, list, Console(width=width))._table([job]), width)
    assert "0 of 9 jobs ended" in text
    for shown in ("3,000  75%", "20.2", "31.5"):
        assert shown in text
    assert ("777" in text) is has_speed
    assert "…" not in text
