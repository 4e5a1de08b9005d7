"""The README does what it says: its Python runs, its commands exist and are accepted."""

import re
import shlex
from pathlib import Path

import pytest

from qframe.cli.main import main

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def commands():
    lines = [line.split(" #")[0].strip() for block in blocks("bash") for line in block.splitlines()]
    return [line for line in lines if line]


OWN = [code for code in blocks("python") if "policy." not in code]  # those are in tests/cli/test_export.py


@pytest.mark.parametrize("code", OWN, ids=["library", "loss_only"])
def test_the_python_runs(code, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    exec(compile(code, "README.md", "exec"), {})


@pytest.mark.parametrize("line", [line for line in commands() if line.startswith("qframe")])
def test_a_command_is_accepted(line, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    words = shlex.split(line)[1:]
    if words[0] == "train":  # checked, and trained in the tests of the command line
        if "-m" in words:
            words = [re.sub(r",.*", "", word) for word in words if word != "-m"]
        words[0] = "check"
    assert main(words) == 0, capsys.readouterr().err


@pytest.mark.parametrize("line", [line for line in commands() if line.startswith("make")])
def test_a_make_target_exists(line):
    assert f"\n{line.split()[1]}:" in (ROOT / "Makefile").read_text()


def test_every_line_of_a_shell_block_is_tested():
    assert all(line.startswith(("qframe", "make")) for line in commands())


def test_the_test_command_is_what_continuous_integration_runs():
    assert "make test" in commands()
    assert "exec make test" in (ROOT / ".ci" / "run").read_text()


def test_every_group_and_option_is_listed():
    for group in (ROOT / "conf").iterdir():
        if group.is_dir() and group.name not in ("experiment", "hydra", "evaluation", "checkpoint", "logger"):
            row = next((line for line in README.splitlines() if line.startswith(f"| `{group.name}` |")), "")
            for option in group.glob("*.yaml"):
                if group.name not in ("collector", "runner"):
                    assert option.stem in row, f"{group.name}={option.stem}"
