"""Ray and submitit for real: the same job has the same result, and stops with a checkpoint."""

import pytest

from qframe.errors import UserError
from qframe.runs.folder import read_json
from qframe.sweeps.engines.ray import RayEngine
from qframe.sweeps.engines.submitit import SubmititEngine
from qframe.sweeps.grid import Queue
from qframe.sweeps.job import execute
from qframe.sweeps.loop import Needs, run_jobs
from tests.sweeps.short import spec
from tests.sweeps.test_loop import Board


def engine(name, folder):
    if name == "ray":
        return RayEngine(None, 1, needs=Needs(), gpus=0, say=print)  # one after the other, in a process that stays
    return SubmititEngine("local", 2, folder=folder / "q", needs=Needs(), parameters={"timeout_min": 9}, say=print)


class StopsJob1(Queue):
    """Job 1 is pruned once it has logged something."""

    def to_prune(self, running):
        begun = {job.number for job in running if (job.folder / "metrics.jsonl").is_file()}
        return dict.fromkeys(begun & {1}, "enough")


@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("name", ["ray", "submitit"])
def test_a_job_has_the_result_that_it_has_here_and_another_is_stopped(tmp_path, name):
    specs = {0: spec(0, tmp_path), 1: spec(1, tmp_path, "total_frames=1M", "logger.every=100")}
    events: list[str] = []
    run_jobs(StopsJob1(specs, specs.get), engine(name, tmp_path), Board(events))
    assert sorted(events) == ["finished 0", "pruned 1"]
    assert 100 <= read_json(tmp_path / "1" / "summary.json")["frames"] < 10**6
    assert (tmp_path / "1" / "checkpoints").is_dir()
    here = execute(spec(0, tmp_path / "here"))
    there = read_json(tmp_path / "0" / "summary.json")
    for key in ("frames", "updates", "train_return_mean", "eval_return_mean", "eval_return_last"):
        assert there[key] == here[key], key


def test_a_missing_queue_is_reported(tmp_path):
    with pytest.raises(UserError, match="the queue does not accept these jobs: .*srun"):
        SubmititEngine("slurm", 2, folder=tmp_path, needs=Needs(), parameters={}, say=print)
    with pytest.raises(UserError, match="the queue does not accept these jobs: .*partition"):
        SubmititEngine("local", 2, folder=tmp_path, needs=Needs(), parameters={"partition": "x"}, say=print)


def test_a_missing_ray_cluster_is_reported():
    with pytest.raises(UserError, match=r"no Ray cluster answers at '1\.2\.3': Invalid address"):
        RayEngine("1.2.3", 2, needs=Needs(), gpus=0, say=print)
