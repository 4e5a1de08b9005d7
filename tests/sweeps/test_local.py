"""Jobs as processes of this machine."""

import os
import signal
import subprocess
import sys
import time

import pytest

from qframe.errors import ConfigError
from qframe.runs.folder import read_json
from qframe.sweeps.engines.local import LocalEngine, local_engine
from qframe.sweeps.grid import Queue
from qframe.sweeps.loop import Needs, run_jobs
from tests.sweeps.short import SHORT, spec


class Killer:
    """A board that kills job 1 once it has learnt something."""

    def __init__(self, engine):
        self._engine = engine
        self.outcomes = {}

    def started(self, job):
        pass

    def say(self, text):
        pass

    def refresh(self, running):
        for job in running:
            if job.number == 1 and (job.folder / "metrics.jsonl").is_file():
                (process,) = [process for process in self._engine.running if process.name == "job 1"]
                os.kill(process.pid, signal.SIGKILL)

    def ended(self, job, summary):
        self.outcomes[job.number] = (summary["status"], summary.get("reason"))

    def close(self):
        pass


def test_a_killed_process_is_reported_with_its_signal_and_the_other_job_finishes(tmp_path):
    specs = {0: spec(0, tmp_path), 1: spec(1, tmp_path, "total_frames=1M", "logger.every=100")}
    engine = LocalEngine(2, threads=1)
    board = Killer(engine)
    run_jobs(Queue(specs, specs.get), engine, board)
    assert board.outcomes[0] == ("finished", None)
    assert board.outcomes[1] == ("failed", "its process was ended by signal 9 (Killed); out of memory?")
    assert read_json(tmp_path / "0" / "summary.json")["frames"] == 304
    assert "eval_return_mean" in (tmp_path / "0" / "output.log").read_text()


def test_a_signal_to_every_process_stops_the_jobs_without_a_traceback(tmp_path):
    words = [*SHORT, "total_frames=10M", "logger.every=100", "checkpoint.every=10M", "evaluation.every=10M", "seed=1,2"]
    command = [sys.executable, "-m", "qframe", "train", "-m", *words, "hydra.sweep.dir=sweep", "hydra.launcher.jobs=1"]
    with subprocess.Popen(
        command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    ) as sweep:
        while not any((tmp_path / "sweep").glob("0-*/metrics.jsonl")):
            assert sweep.poll() is None
            time.sleep(0.2)
        os.killpg(sweep.pid, signal.SIGTERM)
        printed = sweep.communicate()[0]
    assert sweep.returncode == 143
    assert "Traceback" not in printed
    assert read_json(tmp_path / "sweep" / "0-seed=1" / "summary.json")["status"] == "stopped"
    assert any((tmp_path / "sweep" / "0-seed=1" / "checkpoints").iterdir())


@pytest.fixture
def four_cores(monkeypatch):
    monkeypatch.setattr("qframe.sweeps.engines.local.cores", lambda: 4)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


@pytest.mark.parametrize(
    ("asked", "needs", "slots", "line"),
    [
        (None, Needs(1), 4, "4 jobs at once, each with 1 of 4 cores"),
        (None, Needs(3), 1, "1 job at once, each with 4 of 4 cores"),
        (2, Needs(1), 2, "2 jobs at once, each with 2 of 4 cores"),
        (9, Needs(2), 2, "2 jobs at once, each with 2 of 4 cores (9 requested, 4 cores, runner.threads=2)"),
        (None, Needs(9), 1, "1 job at once, each with 9 of 4 cores"),
    ],
)
def test_no_more_threads_at_once_than_cores(four_cores, asked, needs, slots, line):
    lines = []
    assert local_engine(asked, needs=needs, say=lines.append).slots == slots
    assert lines == [line]


def test_one_job_for_each_gpu_where_jobs_use_them(four_cores, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,5")
    lines = []
    assert local_engine(None, needs=Needs(1, gpu=True), say=lines.append).slots == 2
    assert lines == ["2 jobs at once, each with 2 of 4 cores, 2 GPUs"]


def test_less_than_one_job_at_once_is_refused(four_cores):
    with pytest.raises(ConfigError, match=r"hydra.launcher.jobs: must be at least 1, got 0; null runs as many as fit"):
        local_engine(0, needs=Needs(), say=print)
