"""Where the time of a frame goes."""

import json
import time

import pytest
import torch

from qframe.loggers.console import Report
from qframe.training.timing import Profile
from tests.runners import make_runner


class Lines(Report):
    def __init__(self):
        self.lines = []

    def say(self, text):
        self.lines.append(text)


def test_every_part_is_in_the_logs_and_in_a_table_whose_shares_are_all_of_the_time(tmp_path):
    runner = make_runner(tmp_path, "CartPole-v1", total_frames=1200, evaluate_every=600)
    runner.report = Lines()
    Profile(runner)
    runner.run()
    rows = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    logged = [row for row in rows if "time/updates" in row]
    phases = {"act", "env", "collect", "store", "sample", "forward", "backward", "optimizer", "log", "evaluate", "save"}
    assert {f"profile/{phase}" for phase in phases} <= set(logged[0])
    assert all(row["profile/env"] > 0 for row in logged)
    start = next(i for i, line in enumerate(runner.report.lines) if line.startswith("profile "))
    table = {line[:12].strip(): line[12:].split() for line in runner.report.lines[start + 1 :] if "%" in line}
    assert phases | {"other"} <= set(table)
    assert sum(float(columns[1].rstrip("%")) for columns in table.values()) == pytest.approx(100, abs=2)


def test_time_is_counted_once_where_timed_parts_call_each_other(tmp_path):
    runner = make_runner(tmp_path, "CartPole-v1")
    envs, act = runner.collector.envs, runner.collector.act
    runner.collector.act = lambda *arguments: (time.sleep(0.02), act(*arguments))[1]
    step = envs.step
    envs.step = lambda action: (time.sleep(0.03), step(action))[1]
    profile = Profile(runner)
    runner.collector.collect()
    runner.schedule.frames = 4
    seconds = {line[:12].strip(): float(line[12:].split()[0]) for line in list(profile.table(4, 1.0))[1:]}
    assert 0.02 <= seconds["act"] < 0.03 + 0.02
    assert 0.03 <= seconds["env"] < 0.05
    assert seconds["collect"] < 0.02
    envs.close()


def test_without_a_profile_nothing_is_timed(tmp_path):
    runner = make_runner(tmp_path, "CartPole-v1", total_frames=600)
    runner.run()
    assert not [line for line in (tmp_path / "metrics.jsonl").read_text().splitlines() if "profile/" in line]
    assert torch.is_tensor(next(runner.network.parameters()))
