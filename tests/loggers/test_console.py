"""The console of a run: a bar that fits its terminal, lines in a pipe, and signs of life between them."""

import io

import pytest
from rich.cells import cell_len
from rich.console import Console

from qframe.loggers import console
from qframe.loggers.console import BarReport, LineReport, Report
from tests.runners import make_runner


def bar(width, encoding="utf-8"):
    file = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    report = BarReport(Console(file=file, width=width, force_terminal=True))
    report._name, report._total = "cartpole_dqn", 50_000
    report.step(22_500)
    return report


@pytest.mark.parametrize(
    ("width", "line"),
    [
        (40, "cartpole_dqn  ████░░░░  45%  eval 487.3"),
        (80, "cartpole_dqn  ███░░░  45%  1,234 frames/s  ETA 0:00:22  return 21.0  eval 487.3"),
        (20, "45%  eval 487.3"),
    ],
)
def test_the_bar_names_run_share_and_last_evaluation_on_narrow_terminals_too(width, line):
    report = bar(width)
    report.update(22_500, frames_per_second=1234.4, seconds_left=22.3, episode_return=21.0)
    report.evaluated(487.31)
    assert report._line().plain == line
    assert cell_len(line) < width


@pytest.mark.parametrize("width", [20, 40, 60, 80, 100, 140, 200])
def test_the_bar_is_never_wider_than_its_terminal(width):
    report = bar(width)
    assert cell_len(report._line().plain) < width
    report.update(22_500, frames_per_second=1e6, seconds_left=0.03, episode_return=-123_456.7)
    report._name = "minatar_space_invaders_rainbow"
    report.evaluating(12, 100)
    assert cell_len(line := report._line().plain) < width
    assert "evaluating 12/100" in line or width < 30


def test_a_wide_bar_has_everything():
    report = bar(140)
    report.update(22_500, frames_per_second=1234.4, seconds_left=22.3, episode_return=0.12)
    report.evaluated(0.9634)
    line = report._line().plain
    assert line.startswith("cartpole_dqn  ██████████████░░░░░░░░░░░░░░░░  45%  22,500/50,000  1,234 frames/s  ETA")
    assert line.endswith("return 0.120  eval 0.963")


def test_the_seconds_left_are_unknown_until_learning_starts(tmp_path):
    seen = []

    class Kept(Report):
        def update(self, frames, *, frames_per_second, seconds_left, episode_return, actors):
            seen.append((frames, seconds_left and seconds_left * frames_per_second))

    runner = make_runner(tmp_path, "CartPole-v1", total_frames=2000, learning_starts=700, report=Kept())
    runner.run()
    assert seen == [(500, None), (1000, pytest.approx(1000)), (1500, pytest.approx(500)), (2000, 0)]
    report = bar(80)
    report.update(500, frames_per_second=1234.4, seconds_left=None, episode_return=21.0)
    assert "ETA -:--:--" in report._line().plain


def test_a_terminal_without_unicode_has_a_bar_of_ascii():
    assert "##" in bar(40, "ascii")._line().plain


def test_long_work_without_a_log_shows_that_it_is_alive(monkeypatch, capsys):
    now = [0.0]
    monkeypatch.setattr(console.time, "monotonic", lambda: now[0])
    report = LineReport()
    report.start(0, 1000)
    for now[0], frames in ((10.0, 100), (16.0, 160), (20.0, 200)):
        report.step(frames)
    for now[0], done in ((20.5, 1), (22.0, 3), (23.0, 4), (29.0, 12)):
        report.evaluating(done, 100)
    LineReport().evaluating(1, 2)
    alone = LineReport()
    now[0] = 40.0
    alone.evaluating(3, 4)
    assert [line.split() for line in capsys.readouterr().out.splitlines()] == [
        ["160/1,000", "frames", "16%", "training"],
        ["200/1,000", "frames", "20%", "evaluating", "3/100"],
        ["200/1,000", "frames", "20%", "evaluating", "12/100"],
        ["evaluating", "3/4"],
    ]
