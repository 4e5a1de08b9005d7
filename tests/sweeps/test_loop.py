"""The loop over jobs, with an engine whose jobs end when the test says."""

import os
import signal
from collections.abc import Iterable
from pathlib import Path

import pytest

from qframe.errors import Stopped
from qframe.runs.folder import read_json, write_json
from qframe.sweeps.grid import SYNC, Queue, needs_of
from qframe.sweeps.job_spec import JobSpec
from qframe.sweeps.loop import Needs, run_jobs, sharing


class Script:
    """An engine: job n does what ``acts[n]`` says at each of its tries, a look later."""

    def __init__(self, slots: int, acts: dict[int, list[str]]) -> None:
        self.slots, self.acts, self.threads = slots, acts, 2
        self.running: list[int] = []
        self.events: list[str] = []
        self.stops: list[int] = []
        self.most = 0
        self.is_closed = False

    def start(self, job):
        self.running.append(job.number)
        self.most = max(self.most, len(self.running))
        self.events.append(f"start {job.number}")
        return job

    def ended(self, handle):
        act = self.acts[handle.number][0]
        if act == "waits":
            return None
        if act == "signals":
            self.acts[handle.number][0] = "waits"
            os.kill(os.getpid(), signal.SIGTERM)
            return None
        self.acts[handle.number].pop(0)
        self.running.remove(handle.number)
        if act == "killed":
            return "its process was ended by signal 9"
        write_json(handle.folder / "summary.json", {"status": act, "frames": 5})
        return ""

    def stop(self, handle):
        self.stops.append(handle.number)
        self.acts[handle.number] = ["stopped"]

    def close(self):
        self.is_closed = True


class Board:
    """Records the events."""

    def __init__(self, events: list[str]) -> None:
        self.events = events

    def started(self, job):
        pass

    refresh = say = started

    def ended(self, job, summary):
        self.events.append(f"{summary['status']} {job.number}")

    def close(self):
        pass


def run(tmp_path, slots, acts, *, retries=0, jobs=None):
    script = Script(slots, acts)
    specs = {number: JobSpec(number, tmp_path / str(number), (f"seed={number}",), {}) for number in acts}
    jobs = jobs or Queue(specs, specs.get, retries=retries)
    try:
        run_jobs(jobs, script, Board(script.events))
    finally:
        assert script.is_closed
    return script


def test_as_many_jobs_at_once_as_there_are_slots_and_the_next_when_one_ends(tmp_path):
    script = run(tmp_path, 2, {n: ["finished"] for n in range(5)})
    assert script.most == 2
    assert sorted(script.events) == sorted([f"start {n}" for n in range(5)] + [f"finished {n}" for n in range(5)])


def test_a_killed_job_hurts_no_other_and_its_reason_is_written_down(tmp_path):
    script = run(tmp_path, 1, {0: ["killed"], 1: ["finished"]})
    assert script.events == ["start 0", "failed 0", "start 1", "finished 1"]
    assert read_json(tmp_path / "0" / "summary.json") == {
        "status": "failed", "reason": "its process was ended by signal 9", "overrides": ["seed=0"]
    }  # fmt: skip


def test_a_failed_job_is_tried_again_after_the_others_and_not_forever(tmp_path):
    script = run(tmp_path, 1, {0: ["killed", "failed", "failed"], 1: ["finished"]}, retries=2)
    assert script.events == [
        "start 0", "failed 0", "start 1", "finished 1", "start 0", "failed 0", "start 0", "failed 0"
    ]  # fmt: skip
    script = run(tmp_path, 1, {2: ["failed", "finished"], 3: ["refused", "finished"]}, retries=5)
    assert script.events == ["start 2", "failed 2", "start 3", "refused 3", "start 2", "finished 2"]


def test_a_process_that_ends_without_a_result_has_failed(tmp_path):
    script = run(tmp_path, 1, {0: ["running"]})
    assert script.events == ["start 0", "failed 0"]
    assert read_json(tmp_path / "0" / "summary.json")["reason"] == "it ended without a result"


def test_a_signal_stops_all_that_run_and_starts_no_more(tmp_path):
    with pytest.raises(Stopped) as stopped:
        run(tmp_path, 2, {0: ["waits"], 1: ["signals"], 2: ["finished"]})
    assert stopped.value.number == signal.SIGTERM
    assert [read_json(tmp_path / str(n) / "summary.json").get("status") for n in range(3)] == [
        "stopped", "stopped", None
    ]  # fmt: skip


@pytest.mark.parametrize("is_stopped", [True, False])
def test_a_signal_that_ends_the_server_of_jobs_stops_the_sweep(is_stopped, tmp_path, monkeypatch):
    def start(self, job):
        if is_stopped:
            os.kill(os.getpid(), signal.SIGTERM)
        raise EOFError("unexpected EOF")

    monkeypatch.setattr(Script, "start", start)
    with pytest.raises(Stopped if is_stopped else EOFError):
        run(tmp_path, 2, {0: ["finished"]})


class Pruning(Queue):
    def to_prune(self, running: Iterable[JobSpec]) -> dict[int, str]:
        return {job.number: "worse than the median" for job in running if job.number == 0}


def test_a_pruned_job_is_stopped_for_good_with_its_reason(tmp_path):
    specs = {number: JobSpec(number, tmp_path / str(number), (), {}) for number in (0, 1)}
    script = run(tmp_path, 2, {0: ["waits"], 1: ["finished"]}, jobs=Pruning(specs, specs.get))
    assert script.stops == [0]
    assert read_json(tmp_path / "0" / "summary.json") == {
        "status": "pruned", "frames": 5, "reason": "worse than the median", "overrides": []
    }  # fmt: skip


@pytest.mark.parametrize(
    ("trunk", "asked", "threads"),
    [("MLPTrunk", "auto", 1), ("ConvTrunk", "auto", 2), ("ConvTrunk", 8, 8)],
)
def test_auto_takes_no_more_threads_than_a_jobs_share(monkeypatch, trunk, asked, threads):
    monkeypatch.setattr("os.cpu_count", lambda: 16)
    config = {"runner": {"threads": asked}, "trunk": {"_target_": f"qframe.networks.{trunk}"}}
    assert sharing(JobSpec(0, Path(), (), config), 2).config["runner"]["threads"] == threads


@pytest.mark.parametrize(
    ("config", "needs"),
    [
        ({"runner": {"threads": "auto"}, "device": "cpu"}, Needs(1, False)),
        ({"runner": {"threads": 3}, "device": "auto"}, Needs(3, True)),
        ({"runner": {"threads": 1}, "device": "cpu", "collector": {"_target_": SYNC}}, Needs(1, False)),
        ({"runner": {"threads": 1}, "device": "cpu", "collector": {"_target_": "x.Pipelined"}}, Needs(2, False)),
    ],
)
def test_what_a_job_needs(config, needs):
    assert needs_of([{"device": "cpu"}, config]) == needs
