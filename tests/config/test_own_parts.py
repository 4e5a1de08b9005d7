"""The example folder with a class of its own at every extension point trains, resumes and evaluates."""

import json
import sys
from pathlib import Path

import pytest

from qframe.cli.main import main

EXAMPLE = Path(__file__).parents[2] / "docs" / "examples" / "own_parts"
WORDS = ["--config-dir", str(EXAMPLE / "conf"), "--trust", "lab", "experiment=own_parts", "collector=sync"]


@pytest.fixture
def lab(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(EXAMPLE)
    yield
    for name in [name for name in sys.modules if name.partition(".")[0] == "lab"]:
        del sys.modules[name]


def test_every_part_of_the_example_trains(lab, capsys):
    assert main(["train", *WORDS, "hydra.run.dir=run"]) == 0
    summary = json.loads(Path("run/summary.json").read_text())
    assert summary["eval_return_mean"] > -1.0  # at most 6 steps of -0.1, against -5.0 without learning
    assert len(Path("run/scores.txt").read_text().splitlines()) >= 4
    capsys.readouterr()
    assert main(["eval", "run", "--episodes", "2", "--trust", "lab"]) == 0
    assert main(["resume", "run", "total_frames=4400", "--trust", "lab"]) == 0
    used = [path for path in (EXAMPLE / "conf").rglob("*.yaml") if path.parent.name != "experiment"]
    config = Path("run/config.yaml").read_text()
    for path in used:
        assert any(line.split()[-1] in config for line in path.read_text().splitlines() if "lab.parts." in line), path
