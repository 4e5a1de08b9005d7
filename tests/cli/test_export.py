"""``qframe export``, and the tutorial's loaders, which run what it wrote in a process without qframe."""

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from qframe.cli import export
from qframe.cli.main import main
from qframe.formatting import install_command

PAGE = (Path(__file__).parents[2] / "docs" / "tutorials" / "export.md").read_text()
LOADERS = [block for block in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL) if "policy." in block]
SMALL = [
    "total_frames=200", "runner.learning_starts=100", "evaluation.every=100", "evaluation.episodes=1",
    "evaluation.final_episodes=1", "logger.tensorboard=false", "head=quantile",
]  # fmt: skip


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "run"
    assert main(["train", *SMALL, f"hydra.run.dir={folder}"]) == 0
    return folder


@pytest.mark.parametrize("form", ["onnx", "torch"])
def test_an_exported_policy_is_checked_and_loads_by_the_five_lines_of_the_tutorial(run, form, tmp_path, capsys):
    file = tmp_path / ("policy.onnx" if form == "onnx" else "policy.pt2")
    assert main(["export", str(run), "--format", form, "--out", str(file)]) == 0
    printed = capsys.readouterr().out
    assert re.search(r"checked: action values within \S+, actions equal on 1,000 of 1,000 observations", printed)
    assert re.search(r"input   observation +float32  \['B', 4\]", printed)
    (loader,) = [block for block in LOADERS if file.name in block]
    assert len(loader.splitlines()) <= 6
    ask = "import sys\nprint(int(action[0]), len(action_value[0]), {'qframe', 'hydra'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-I", "-c", loader + ask], capture_output=True, text=True, cwd=tmp_path)
    assert re.fullmatch(r"[01] 2 set\(\)\n", done.stdout), done.stderr


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--format", "onx"], "--format: unknown format 'onx'; nearest is 'onnx'"),
        (["--out", "nowhere/x.onnx"], "--out: the folder of 'nowhere/x.onnx' does not exist"),
    ],
)
def test_bad_arguments_are_refused(run, words, message, capsys):
    assert main(["export", str(run), *words]) == 2
    assert message in capsys.readouterr().err


def test_a_missing_package_is_reported_with_the_pip_command(run, monkeypatch, capsys):
    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "onnxruntime" else real(name))
    assert main(["export", str(run)]) == 2
    assert f"--format: onnx needs onnxruntime; {install_command('onnx')}" in capsys.readouterr().err


def test_a_policy_that_is_not_the_networks_is_not_passed_over(run, monkeypatch, tmp_path, capsys):
    form = export.FORMATS["torch"]
    wrong = form._replace(load=lambda path: lambda observation, mask: (np.zeros(1000), np.ones((1000, 2))))
    monkeypatch.setitem(export.FORMATS, "torch", wrong)
    assert main(["export", str(run), "--format", "torch", "--out", str(tmp_path / "policy.pt2")]) == 1
    assert "the exported policy differs from the network" in capsys.readouterr().err
