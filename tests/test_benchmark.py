"""The benchmark's ratios and table, from measurements given; and that every contestant is there."""

import importlib
import json
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

ROOT = Path(__file__).parents[1]
SCRIPTS = ROOT / "scripts" / "benchmark"
WORKLOADS = sorted({path.stem for path in SCRIPTS.glob("*.py")} - {"__main__", "measure", "table"})


@pytest.fixture(autouse=True)
def _scripts(monkeypatch):
    monkeypatch.syspath_prepend(str(SCRIPTS))
    yield
    for name in ("measure", "table", *WORKLOADS):
        sys.modules.pop(name, None)


def test_a_ratio_is_of_medians_and_its_range_of_repeats():
    measure = importlib.import_module("measure")
    results = {"own": [{"s": 1.0}, {"s": 2.0}, {"s": 4.0}], "peer": [{"s": 8.0}, {"s": 10.0}, {"s": 8.0}]}
    found = measure.ratio(measure.Bar("own", "peer", "s", 4.0), results)
    assert (found["ratio"], found["lowest"], found["highest"], found["reached"]) == (4.0, 2.0, 8.0, True)
    speeds = measure.ratio(measure.Bar("own", "peer", "s", 1.0, inverse=False), results)
    assert (speeds["ratio"], speeds["reached"]) == (0.25, False)
    assert measure.ratio(measure.Bar("own", "absent", "s", 4.0), results) is None
    once = measure.ratio(measure.Bar("own", "peer", "s", 4.0), results | {"peer": [{"s": 8.0}]})
    assert (once["ratio"], once["lowest"], once["highest"]) == (4.0, 2.0, 8.0)


def test_every_repeat_has_a_seed_of_its_own(monkeypatch):
    measure = importlib.import_module("measure")
    contestant = measure.Contestant("qframe", None, "qframe_train.py", ("experiment=benchmark_w1", "seed={seed}"))
    started = []
    done = SimpleNamespace(returncode=0, stdout="{}")
    monkeypatch.setattr(measure.subprocess, "run", lambda command, **_: started.append(command[2:]) or done)
    measure.interleaved(measure.Workload("", [contestant]), 2)
    assert started == [["experiment=benchmark_w1", "seed=1"], ["experiment=benchmark_w1", "seed=2"]]


def test_different_work_is_reported():
    measure = importlib.import_module("measure")
    workload = measure.Workload("", [], same=("updates",))
    assert measure.differing(workload, {"a": [{"updates": 10_000}], "b": [{"updates": 10_005}]}) == []
    differences = measure.differing(workload, {"a": [{"updates": 10_000}], "b": [{"updates": 10_050}]})
    assert differences == ["updates differ: a 10,000, b 10,050"]


def test_the_table_has_a_row_for_every_ratio_and_marks_those_not_reached():
    table = importlib.import_module("table")
    ratio = {
        "own": "qframe", "peer": "SB3", "number": "seconds", "at_least": 8.0, "ratio": 7.5, "lowest": 7.0,
        "highest": 8.5, "reached": False,
    }  # fmt: skip
    medians = {"qframe": {"seconds": 10.0}, "SB3": {"seconds": 75.0}}
    saved = {"workloads": {"w1": {"title": "CartPole", "ratios": [ratio], "medians": medians, "notes": ""}}}
    row = table.lines(saved).splitlines()[2]
    assert row == "| W1 | CartPole | qframe: 10 seconds | SB3: 75 seconds | 7.50 (7.00 to 8.50) | 8.00: not reached |"


def test_the_page_is_current():
    table = importlib.import_module("table")
    page, saved = table.PAGE.read_text(), json.loads((ROOT / "docs/results/speed/benchmark.json").read_text())
    assert table.START in page
    assert page == table.written(page, saved), "python scripts/benchmark --table writes it"


@pytest.mark.parametrize("name", WORKLOADS)
def test_a_workload_names_scripts_that_exist_and_bars_between_its_contestants(name):
    workload = importlib.import_module(name).WORKLOAD
    names = {contestant.name for contestant in workload.contestants}
    assert all((SCRIPTS / "contestants" / contestant.script).is_file() for contestant in workload.contestants)
    assert all({bar.own, bar.peer} <= names for bar in workload.bars)
