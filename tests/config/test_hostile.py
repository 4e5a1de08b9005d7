"""What a stranger's config asks for is refused in words: nothing is imported, built or written."""

from pathlib import Path

import pytest

from qframe.cli.main import main
from tests.config.hostile import CONFIGS, EVIL_MODULE


@pytest.fixture
def canary(tmp_path, monkeypatch):
    here = tmp_path / "here"
    (here / "own" / "experiment").mkdir(parents=True)
    monkeypatch.chdir(here)
    monkeypatch.syspath_prepend(str(tmp_path / "path"))
    (tmp_path / "path").mkdir()
    (tmp_path / "path" / "evil.py").write_text(EVIL_MODULE.format(canary=str(tmp_path / "canary")))
    return tmp_path / "canary"


@pytest.mark.parametrize("name", CONFIGS)
def test_a_hostile_config_is_refused(name, canary, capsys):
    text = CONFIGS[name].replace("CANARY", str(canary).lstrip("/") if "/CANARY" in CONFIGS[name] else str(canary))
    Path("own/experiment/odd.yaml").write_text(f"# @package _global_\n# Odd\n{text}")
    words = ["total_frames=1100", "--config-dir", "own", "experiment=odd"]
    assert main(["train", *words]) == 2
    printed = capsys.readouterr().err
    assert printed.startswith("qframe: ")
    assert "Traceback" not in printed
    assert not canary.exists()
    assert not Path("outputs").exists()


def test_the_same_words_with_nothing_hostile_are_no_fault(canary):
    Path("own/experiment/odd.yaml").write_text("# @package _global_\n# Odd\nname: odd\n")
    assert main(["check", "total_frames=1100", "--config-dir", "own", "experiment=odd"]) == 0
