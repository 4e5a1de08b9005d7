"""Checkpoints and run folders from a stranger: no code in them runs, and nothing is written outside."""

import json
import os
import pickle
import shutil
from pathlib import Path

import pytest
import torch

from qframe.checkpoints.files import checksum, read_manifest, write_manifest
from qframe.cli.main import main

SMALL = ["total_frames=200", "runner.learning_starts=100", "evaluation.final_episodes=1", "evaluation.every=100",
         "evaluation.episodes=1", "checkpoint.every=100", "logger.tensorboard=false", "compile=false"]  # fmt: skip
PARTS = ("run", "best", "collector", "learner", "replay")


class Evil:
    def __init__(self, canary):
        self.canary = str(canary)

    def __reduce__(self):
        return os.system, (f"touch {self.canary}",)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "run"
    assert main(["train", *SMALL, f"hydra.run.dir={folder}"]) == 0
    return folder


@pytest.fixture
def run(finished, tmp_path):
    return shutil.copytree(finished, tmp_path / "run")


def newest(run):
    return max((run / "checkpoints").iterdir())


def put(run, name, content: bytes):
    """A file of the newest checkpoint, as if it had been written with it."""
    folder = newest(run)
    manifest = read_manifest(folder)
    (folder / name).write_bytes(content)
    files = manifest["files"] | {name: {"bytes": len(content), "checksum": checksum(content)}}
    write_manifest(folder, manifest["frames"], files)
    for other in (run / "checkpoints").iterdir():
        if other != folder:
            shutil.rmtree(other)


def saved(content, path):
    torch.save(content, path)
    return path.read_bytes()


def survives(run, tmp_path, capsys):
    canary, before = tmp_path / "canary", {path.name for path in tmp_path.iterdir()}
    for words in (["eval", str(run), "--last", "--episodes", "1"], ["resume", str(run), "total_frames=208"]):
        assert main(words) in (0, 2)
        assert "Traceback" not in capsys.readouterr().err
    assert not canary.exists()
    assert {path.name for path in tmp_path.iterdir()} == before


@pytest.mark.parametrize("part", PARTS)
def test_a_pickled_object_is_not_loaded(run, part, tmp_path, capsys):
    put(run, f"{part}.pt", saved({"frames": Evil(tmp_path / "canary")}, tmp_path / "evil.pt"))
    survives(run, tmp_path, capsys)
    put(run, f"{part}.pt", pickle.dumps(Evil(tmp_path / "canary")))
    survives(run, tmp_path, capsys)


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize(
    "content", [[1, 2], {}, {"frames": "many", "network": 3}, None], ids=["list", "empty", "types", "none"]
)
def test_content_of_another_kind_is_refused(run, part, content, tmp_path, capsys):
    put(run, f"{part}.pt", saved(content, tmp_path / "odd.pt"))
    survives(run, tmp_path, capsys)


@pytest.mark.parametrize("frames", [-1, 10**30, float("nan"), [1], "../../x"])
def test_impossible_numbers_are_refused(run, frames, tmp_path, capsys):
    content = torch.load(newest(run) / "run.pt", weights_only=True) | {"frames": frames}
    put(run, "run.pt", saved(content, tmp_path / "odd.pt"))
    survives(run, tmp_path, capsys)


@pytest.mark.parametrize(
    "files",
    [
        {"../../../canary": {"bytes": 1, "checksum": ""}},
        {"/etc/passwd": {"bytes": 1, "checksum": ""}},
        {"run.pt": 5},
        {"run.pt": {}},
        ["run.pt"],
        {},
        5,
    ],
    ids=str,
)
def test_a_manifest_that_names_something_else_is_damaged(run, files, tmp_path, capsys):
    plain = {"format": 3, "frames": 200, "files": files}
    whole = plain | {"checksum": checksum(json.dumps(plain, indent=1).encode())}
    for folder in (run / "checkpoints").iterdir():
        (folder / "manifest.json").write_bytes(json.dumps(whole, indent=1).encode())
    survives(run, tmp_path, capsys)


@pytest.mark.parametrize("name", ["metrics.jsonl", "summary.json", "manifest.json", "checkpoints", "config.yaml"])
def test_a_link_that_leads_out_of_the_run_is_refused(run, name, tmp_path, capsys):
    outside = tmp_path / "outside"
    (run / name).rename(outside)
    (run / name).symlink_to(outside)
    before = outside.read_bytes() if outside.is_file() else sorted(os.listdir(outside))
    assert main(["resume", str(run), "total_frames=208"]) == 2
    assert f"the link '{run / name}' leads out of the run's folder; remove it" in capsys.readouterr().err
    assert before == (outside.read_bytes() if outside.is_file() else sorted(os.listdir(outside)))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("qframe.heads.ScalarHead", "os.system"),
        ("CartPole-v1", "evil:Part-v0"),
        ("qframe.loggers.Logger", "qframe.runs.folder.write_json"),
        ("name: run", "name: ../../canary"),
    ],
)
def test_a_config_that_was_read_back_runs_nothing(run, old, new, capsys):
    text = (run / "config.yaml").read_text()
    assert old in text or old.startswith("name")
    (run / "config.yaml").write_text(text.replace(old, new).replace("name: cartpole_dqn", new))
    assert main(["resume", str(run), "total_frames=208"]) == 2
    assert main(["eval", str(run)]) == 2
    assert "Traceback" not in capsys.readouterr().err
    assert not Path("canary").exists()
