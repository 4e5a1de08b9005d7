"""``qframe init``: the project it writes passes its own tests, trains, and meets the linter."""

import json
import os
import subprocess
import sys

import pytest

from qframe.cli.init import package_name
from qframe.cli.main import main


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    folder = tmp_path_factory.mktemp("projects") / "Deep-Lab"
    assert main(["init", str(folder)]) == 0
    return folder


def python(*words, folder):
    environment = {**os.environ, "PYTHONWARNINGS": "default"}
    return subprocess.run([sys.executable, *words], cwd=folder, env=environment, capture_output=True, text=True)


def test_the_project_trains_at_once(project, monkeypatch):
    monkeypatch.chdir(project)
    words = ["train", "--config-dir", "conf", "--trust", "deep_lab", "experiment=corridor", "hydra.run.dir=run"]
    assert main([*words, "total_frames=2k"]) == 0
    summary = json.loads((project / "run" / "summary.json").read_text())
    assert summary["eval_return_mean"] > 0.9  # at most nine steps of -0.01, then 1


def test_its_own_tests_pass(project):
    done = python("-m", "pytest", "-q", "-p", "no:cacheprovider", folder=project)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "2 passed" in done.stdout


def test_its_code_meets_the_linter(project):
    done = python("-m", "ruff", "check", "--no-cache", "--line-length", "120", ".", folder=project)
    assert done.returncode == 0, done.stdout


def test_no_placeholder_is_left(project):
    for path in project.rglob("*"):
        assert "my_lab" not in str(path)
        if path.suffix in (".py", ".md", ".yaml", ".toml"):
            assert "my_lab" not in path.read_text()


def test_a_folder_with_files_is_refused(tmp_path, capsys):
    (tmp_path / "notes.txt").touch()
    assert main(["init", str(tmp_path)]) == 2
    assert "exists and is not an empty folder" in capsys.readouterr().err


@pytest.mark.parametrize(("name", "message"), [("2nd", "cannot name a Python package"), ("torch", "another module")])
def test_a_name_that_cannot_be_a_package_is_refused(name, message, tmp_path, capsys):
    assert main(["init", str(tmp_path / name)]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / name).exists()


def test_a_folder_name_becomes_an_identifier():
    assert package_name("deep-q.lab") == "deep_q_lab"


@pytest.mark.parametrize("folder", ["file/lab", "/proc/lab"])
def test_a_folder_that_cannot_be_made_is_reported_in_one_line(folder, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").touch()
    assert main(["init", folder]) == 2
    assert capsys.readouterr().err.startswith(f"qframe: cannot write or read '{folder}': No")
