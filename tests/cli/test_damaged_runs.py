"""Run folders that are damaged, edited or not one: told in a line, and left as they were."""

import shutil

import pytest
import torch

from qframe.cli.main import main


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "run"
    words = ["total_frames=200", "runner.learning_starts=100", "evaluation.final_episodes=1", "evaluation.every=100"]
    assert main(["train", *words, "logger.tensorboard=false", f"hydra.run.dir={folder}"]) == 0
    return folder


@pytest.fixture
def run(finished, tmp_path):
    return shutil.copytree(finished, tmp_path / "run")


def told(capsys, *words):
    status, captured = main([str(word) for word in words]), capsys.readouterr()
    assert status == 2
    assert "Traceback" not in captured.err
    assert len(captured.err.splitlines()) <= 4
    return captured.err


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "got no keys"),
        (b"- a\n", "got no keys"),
        (b"a: [b\n", "in line 2"),
        (b"\xff\xfe\x00a", "expected a readable config"),
        (b"\xff", "expected a readable config"),
    ],
)
def test_a_damaged_config(run, content, message, capsys):
    (run / "config.yaml").write_bytes(content)
    assert message in told(capsys, "eval", run)


def test_a_damaged_checkpoint(run, capsys):
    (only,) = (run / "checkpoints").iterdir()
    path = only / "learner.pt"
    path.write_bytes(path.read_bytes()[:500])
    assert "got damaged ones: 000000000200 (learner.pt: expected" in told(capsys, "resume", run, "total_frames=300")
    assert "got damaged ones" in told(capsys, "eval", run, "--last")
    shutil.rmtree(run / "checkpoints")
    assert "found none" in told(capsys, "eval", run)


def test_a_checkpoint_of_an_older_format(run, capsys):
    shutil.rmtree(run / "checkpoints")
    (run / "checkpoints").mkdir()
    torch.save({"format": 1, "frames": 200}, run / "checkpoints" / "last.pt")
    assert "expected a checkpoint of format 2" in told(capsys, "eval", run)
    assert "got last.pt of format 1" in told(capsys, "resume", run, "total_frames=300")


@pytest.mark.parametrize("change", ["replay.n_step=1", "env.num_envs=3"])
def test_a_change_that_does_not_fit_the_checkpoint_leaves_the_run_as_it_was(run, change, capsys):
    before = {path.name: path.read_bytes() for path in run.iterdir() if path.is_file()}
    assert "expected a checkpoint that fits the config" in told(capsys, "resume", run, "total_frames=300", change)
    assert {path.name: path.read_bytes() for path in run.iterdir() if path.is_file()} == before


def test_an_override_that_is_none_is_not_blamed_on_the_file(run, capsys):
    assert "expected key=value, as total_frames=100k" in told(capsys, "resume", run, "total_frames={")


def test_a_damaged_summary_is_no_hindrance(run, capsys):
    (run / "summary.json").write_text("{")
    assert main(["resume", str(run)]) == 0  # nothing says that it was evaluated at the end
    assert "expected a run with frames left" in told(capsys, "resume", run)
    assert main(["resume", str(run), "total_frames=208"]) == 0
