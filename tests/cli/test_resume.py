"""Resuming: the values that may change, ``resume=auto``, and the record in the manifest."""

import json

import pytest

from qframe.checkpoints import load_checkpoint
from qframe.cli.main import main
from qframe.config import build
from qframe.runs.folder import UNFINISHED_CONFIG, RunFolder
from tests.cli.test_damaged_runs import finished, refusal, run

__all__ = ["finished", "run"]
WORDS = [
    "total_frames=300", "runner.learning_starts=100", "evaluation.final_episodes=1", "evaluation.every=1000",
    "logger.tensorboard=false", "checkpoint.every=100",
]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("head=quantile", "head: a run resumes with its own parts"),
        ("env=acrobot", "env: a run resumes with its own parts"),
        ("env.num_envs=8", "env.num_envs is part of what was trained"),
        ("action_space.joint=sum", "'action_space.joint=sum' cannot change while a run resumes"),
        ("trunk.num_cells=[16]", "trunk is part of what was trained"),
        ("gamma=0.5", "gamma is part of what was trained"),
        ("seed=7", "seed is part of what was trained"),
        ("env.id=Acrobot-v1", "env.id is part of what was trained"),
        ("env.game=asterix", "env.game is part of what was trained"),
        ("env.kwargs.is_slippery=false", "env.kwargs is part of what was trained"),
        ("+env.wrappers=[FlattenObservation]", "env.wrappers is part of what was trained"),
        ("head[v_max]=50", "head is part of what was trained"),
    ],
)
def test_what_cannot_change_on_the_way_is_refused(run, change, message, capsys):
    before = {path.name: path.read_bytes() for path in run.iterdir() if path.is_file()}
    assert message in refusal(capsys, "resume", run, "total_frames=300", change)
    assert {path.name: path.read_bytes() for path in run.iterdir() if path.is_file()} == before


def test_the_manifest_remembers_every_start(run):
    assert main(["resume", str(run), "total_frames=208"]) == 0
    assert main(["resume", str(run), "total_frames=216"]) == 0
    manifest = json.loads((run / "manifest.json").read_text())
    assert manifest["resumed_at"] == 208
    assert [earlier.get("resumed_at") for earlier in manifest["earlier"]] == [None, 200]
    assert "earlier" not in manifest["earlier"][1]


def test_resume_auto_starts_resumes_and_then_has_finished(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    words = ["train", *WORDS, "resume=auto"]
    assert main(words) == 0
    (folder,) = (tmp_path / "outputs").glob("*/*")
    assert main(words) == 0
    assert "is finished already" in capsys.readouterr().out
    newest = sorted((folder / "checkpoints").iterdir())[-1]
    (newest / "learner.pt").write_bytes(b"")
    (folder / "summary.json").write_text('{"status": "running"}')
    with pytest.warns(UserWarning, match="skipped damaged checkpoints"):
        assert main(words) == 0
    assert list((tmp_path / "outputs").glob("*/*")) == [folder]
    assert load_checkpoint(folder / "checkpoints")["run"]["frames"] == 304
    assert main([*words, "seed=2"]) == 0  # another config is another run
    assert len(list((tmp_path / "outputs").glob("*/*"))) == 2


def test_resume_auto_begins_again_in_a_folder_without_a_checkpoint(tmp_path, capsys):
    words = ["train", *WORDS, "resume=auto", f"hydra.run.dir={tmp_path / 'run'}"]
    assert main(words) == 0
    for path in (tmp_path / "run" / "checkpoints").iterdir():
        path.rename(tmp_path / path.name)
    (tmp_path / "run" / "summary.json").unlink()
    assert main(words) == 0
    frames = [json.loads(line)["frames"] for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert frames == sorted(set(frames))


@pytest.mark.parametrize("left", [[], [".lock"], [".lock", UNFINISHED_CONFIG]], ids=len)
def test_resume_auto_begins_where_a_run_was_killed_before_it_had_a_config(tmp_path, left):
    run = tmp_path / "run"
    run.mkdir()
    for name in left:
        (run / name).write_text("device: cp")
    assert main(["train", *WORDS, "resume=auto", f"hydra.run.dir={run}"]) == 0
    assert RunFolder(run).config["device"] == "auto"
    assert not (run / UNFINISHED_CONFIG).exists()


def test_resume_auto_builds_the_parts_once(tmp_path, monkeypatch, capsys):
    words = ["train", *WORDS, "resume=auto", f"hydra.run.dir={tmp_path / 'run'}"]
    assert main(words) == 0
    (tmp_path / "run" / "summary.json").write_text('{"status": "stopped"}')
    built, parts = [], build.Assembly._parts
    monkeypatch.setattr(build.Assembly, "_parts", lambda self: built.append(self) or parts(self))
    assert main(words) == 0
    assert len(built) == 1


def test_other_words_for_resume_are_refused(capsys):
    assert "'resume=yes': only resume=auto is known" in refusal(capsys, "train", "resume=yes")
    assert "resume=auto is for single runs" in refusal(capsys, "train", "-m", "seed=1,2", "resume=auto")
