"""The Slurm launcher with Slurm's commands played by a script: what is submitted, requeued and cancelled."""

import os
import subprocess

import pytest
from omegaconf import OmegaConf

from hydra_plugins.qframe_sweeps import SubmititLauncher
from qframe.config.hydra_app import conf_dir
from qframe.runs.folder import read_json
from qframe.sweeps.engines.submitit import SubmititEngine
from qframe.sweeps.grid import Queue
from qframe.sweeps.job import execute
from qframe.sweeps.loop import Needs, run_jobs
from tests.sweeps import fake_slurm
from tests.sweeps.short import spec
from tests.sweeps.test_loop import Board

LONG = ("total_frames=1500", "logger.every=100")


class Interferes(Queue):
    """Job 0 is warned by the queue once it has logged something; job 1 is pruned."""

    is_warned = False

    def to_prune(self, running):
        begun = {job.number for job in running if (job.folder / "metrics.jsonl").is_file()}
        if 0 in begun and not self.is_warned:
            self.is_warned = True
            subprocess.run(["scancel", "1", "--signal", "USR2"], check=True)
        return dict.fromkeys(begun & {1}, "enough")


@pytest.fixture
def slurm(tmp_path, monkeypatch):
    commands, state = fake_slurm.install(tmp_path / "bin"), tmp_path / "slurm"
    state.mkdir()
    monkeypatch.setenv("PATH", f"{commands}:{os.environ['PATH']}")
    monkeypatch.setenv("FAKE_SLURM", str(state))
    monkeypatch.setattr("qframe.sweeps.engines.submitit.ASK", 0.2)
    return state


def test_a_job_that_is_out_of_time_resumes_and_a_pruned_one_is_cancelled(tmp_path, slurm):
    specs = {0: spec(0, tmp_path, *LONG), 1: spec(1, tmp_path, "total_frames=1M", "logger.every=100")}
    events: list[str] = []
    engine = SubmititEngine("slurm", 9, folder=tmp_path / "q", needs=Needs(), parameters={}, say=print)
    run_jobs(Interferes(specs, specs.get), engine, Board(events))
    assert sorted(events) == ["finished 0", "pruned 1"]
    assert [(slurm / number / "starts").read_text() for number in ("1", "2")] == ["++", "+"]
    assert (slurm / "2" / "state").read_text() == "CANCELLED"
    assert (tmp_path / "1" / "checkpoints").is_dir()
    here, there = execute(spec(0, tmp_path / "here", *LONG)), read_json(tmp_path / "0" / "summary.json")
    for key in ("frames", "updates", "train_return_mean", "eval_return_mean", "eval_return_last"):
        assert there[key] == here[key], key


def test_the_parameters_of_the_launcher_reach_sbatch(tmp_path, slurm):
    shipped = OmegaConf.to_container(OmegaConf.load(conf_dir() / "hydra" / "launcher" / "slurm.yaml"))
    own = {"mem_gb": 4, "slurm_partition": "long", "slurm_additional_parameters": {"constraint": "a100"}}
    launcher = SubmititLauncher(cluster="slurm", jobs=9, parameters=shipped["parameters"] | own)
    launcher.config = OmegaConf.create({"hydra": {"sweep": {"dir": str(tmp_path)}}})
    engine = launcher.engine(needs=Needs(3), say=print)
    text = engine._executor._executor._make_submission_file_text("train", "1")
    given = {line.removeprefix("#SBATCH --") for line in text.splitlines() if line.startswith("#SBATCH")}
    assert {"time=1440", "mem=4GB", "partition=long", "signal=USR2@120", "job-name=qframe", "constraint=a100",
            "cpus-per-task=3"} <= given  # fmt: skip
    assert not [line for line in given if line.startswith(("gpus", "account", "qos"))]
    assert engine._executor._executor.max_num_timeout == 100
