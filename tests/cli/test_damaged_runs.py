"""Run folders that are damaged, edited, or no run's at all: reported in a line, and left as they were."""

import json
import shutil

import pytest
import torch

from qframe.checkpoints import files
from qframe.cli.main import main
from qframe.config.saved_run import fitting
from qframe.runs.lock import Locked


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "run"
    words = ["total_frames=200", "runner.learning_starts=100", "evaluation.final_episodes=1", "evaluation.every=100"]
    assert main(["train", *words, "logger.tensorboard=false", f"hydra.run.dir={folder}"]) == 0
    return folder


@pytest.fixture
def run(finished, tmp_path):
    return shutil.copytree(finished, tmp_path / "run")


def refusal(capsys, *words):
    status, captured = main([str(word) for word in words]), capsys.readouterr()
    assert status == 2
    assert "Traceback" not in captured.err
    assert len(captured.err.splitlines()) <= 4
    return captured.err


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "has no keys"),
        (b"- a\n", "has no keys"),
        (b"a: [b\n", "in line 2"),
        (b"\xff\xfe\x00a", "config.yaml: "),
        (b"\xff", "config.yaml: "),
    ],
)
def test_a_damaged_config(run, content, message, capsys):
    (run / "config.yaml").write_bytes(content)
    assert message in refusal(capsys, "eval", run)


def test_a_damaged_checkpoint(run, capsys):
    (only,) = (run / "checkpoints").iterdir()
    path = only / "learner.pt"
    path.write_bytes(path.read_bytes()[:500])
    message = "are damaged: 000000000200 (learner.pt: 500 bytes instead of"
    assert message in refusal(capsys, "resume", run, "total_frames=300")
    assert "are damaged: 0" in refusal(capsys, "eval", run, "--last")
    shutil.rmtree(run / "checkpoints")
    assert "there is no checkpoint in" in refusal(capsys, "eval", run)


def test_a_checkpoint_of_an_older_format(run, capsys):
    shutil.rmtree(run / "checkpoints")
    (run / "checkpoints").mkdir()
    torch.save({"format": 1, "frames": 200}, run / "checkpoints" / "last.pt")
    for words in (["eval", run], ["resume", run, "total_frames=300"]):
        message = "last.pt has format 1, but this version reads format 4; no released qframe reads it"
        assert message in refusal(capsys, *words)


OLD_TARGETS = {
    "qframe.training.": "qframe.runner.", "qframe.networks.": "qframe.modules.", "qframe.heads.": "qframe.modules.",
    "qframe.replay.": "qframe.data.", "qframe.loggers.": "qframe.runner.", "qframe.checkpoints.": "qframe.runner.",
}  # fmt: skip


@pytest.mark.parametrize("command", ["resume", "eval", "export", "rerun"])
def test_a_run_folder_of_an_older_version_is_refused_in_one_line(run, command, capsys):
    text = (run / "config.yaml").read_text()
    for new, old in OLD_TARGETS.items():
        assert new in text
        text = text.replace(new, old)
    (run / "config.yaml").write_text(text)
    options = ["--format", "torch"] if command == "export" else []
    assert refusal(capsys, command, run, *options) == (
        f"qframe: {run} has format 2, but this version reads format 4; qframe 0.1.0 reads it\n"
    )


def test_a_checkpoint_of_an_older_version_is_refused_in_one_line(run, capsys):
    (only,) = (run / "checkpoints").iterdir()
    manifest = json.loads((only / "manifest.json").read_text())
    content = {"format": 2, "frames": manifest["frames"], "files": manifest["files"]}
    (only / "manifest.json").write_bytes(files._rendered(content))
    for words in (["resume", run, "total_frames=300"], ["eval", run], ["export", run, "--format", "torch"]):
        assert refusal(capsys, *words) == (
            f"qframe: {only} has format 2, but this version reads format 4; qframe 0.1.0 reads it\n"
        )


def test_the_scores_of_an_older_version_are_still_listed_and_compared(run, capsys):
    text = (run / "config.yaml").read_text()
    (run / "config.yaml").write_text(text.replace("qframe.training.", "qframe.runner."))
    assert main(["runs", str(run)]) == 0
    assert "finished" in capsys.readouterr().out
    assert main(["compare", str(run)]) == 0
    assert "CartPole-v1" in capsys.readouterr().out


@pytest.mark.parametrize(("change", "message"), [
    ("replay.n_step=1", "the checkpoint does not fit the config"),
    ("env.num_envs=3", "cannot change while a run resumes"),
])  # fmt: skip
def test_a_change_that_does_not_fit_the_checkpoint_leaves_the_run_as_it_was(run, change, message, capsys):
    before = {path.name: path.read_bytes() for path in run.iterdir() if path.is_file()}
    assert message in refusal(capsys, "resume", run, "total_frames=300", change)
    assert {path.name: path.read_bytes() for path in run.iterdir() if path.is_file()} == before


def test_fewer_frames_than_a_run_has_trained_for_are_refused(run, capsys):
    before = (run / "config.yaml").read_bytes()
    message = "has trained for 200 frames already, more than total_frames=100; choose a larger number"
    assert message in refusal(capsys, "resume", run, "total_frames=100")
    assert (run / "config.yaml").read_bytes() == before


def test_a_run_that_another_process_trains_is_not_blamed_on_its_config(run):
    with pytest.raises(Locked, match="is being trained by"), fitting():
        raise Locked("the run in x is being trained by process 1")


def test_an_override_that_is_none_is_not_blamed_on_the_file(run, capsys):
    assert "expected key=value, such as total_frames=100k" in refusal(capsys, "resume", run, "total_frames={")


def test_a_damaged_summary_is_no_hindrance(run, capsys):
    (run / "summary.json").write_text("{")
    assert main(["resume", str(run)]) == 0  # nothing says that it was evaluated at the end
    assert "is finished, at " in refusal(capsys, "resume", run)
    assert main(["resume", str(run), "total_frames=208"]) == 0
