"""What README and pages show is what happens: commands and Python are run in order, each page in a folder of its own.

``bash`` blocks are run, ``console`` blocks are compared with the output (``...`` stands for anything), ``python`` and
``yaml`` blocks with a title are written to that file, other ``python`` blocks are executed; ``text`` is only shown.
Training is cut to a few hundred frames and one seed; training without a folder of its own is checked, not run.
"""

import doctest
import json
import os
import re
import shlex
import shutil
import sys
import tomllib
from pathlib import Path

import pytest

from qframe.cli.arguments import Parser
from qframe.cli.main import main

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(r'^```(\w+)(?: title="([^"]+)")?\n(.*?)^```$', re.MULTILINE | re.DOTALL)
SNIPPET = re.compile(r'^--8<-- "(.+)"$', re.MULTILINE)
SIZES = {
    "total_frames": "300", "runner.learning_starts": "100", "evaluation.every": "200", "evaluation.episodes": "2",
    "evaluation.final_episodes": "2", "evaluation.num_envs": "2", "replay.capacity": "1000", "replay.batch_size": "16",
}  # fmt: skip
_trained: dict[tuple[str, ...], Path] = {}


def blocks(page: Path) -> list[tuple[str, str, str]]:
    """Language, title and text of each block, included files filled in."""
    text = SNIPPET.sub(lambda match: (ROOT / match[1]).read_text().rstrip("\n"), page.read_text())
    return BLOCK.findall(text)


def commands(text: str) -> list[str]:
    lines = [line.split(" #")[0].strip() for line in text.splitlines()]
    return [line for line in lines if line and not line.startswith("#")]


def cut(words: list[str], **sizes: str) -> list[str]:
    """The words of a training command with the sizes of a test."""
    chosen = {**SIZES, **sizes}
    return [word for word in words if word.partition("=")[0] not in chosen] + [f"{k}={v}" for k, v in chosen.items()]


def run(line: str, capsys: pytest.CaptureFixture[str]) -> None:
    program, *words = shlex.split(line)
    if program == "cd":
        os.chdir(words[0])
    elif program == "make":
        assert f"\n{words[0]}:" in (ROOT / "Makefile").read_text(), line
    elif program == "pip":
        extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
        assert set(re.findall(r"\w+", " ".join(re.findall(r"\[(.*?)\]", line)))) <= extras.keys(), line
    elif program == "tensorboard":
        assert words[0] == "--logdir"
    else:
        assert program == "qframe", line
        status = qframe(words)
        assert status == 0, f"{line}\n{capsys.readouterr().err}"


def qframe(words: list[str]) -> int:
    match words[0]:
        case "train" if "--dry-run" in words:
            pass
        case "train" if "-m" in words and not any(word.startswith("hydra.sweep.dir=") for word in words):
            words = [*words, "--dry-run"]
        case "train" if any(word.startswith(("hydra.run.dir=", "hydra.sweep.dir=")) for word in words):
            return trained([re.sub("^(seed=[^,]*),.*", r"\1", word) for word in cut(words)])
        case "train":
            words = ["check", *words[1:]]
        case "resume" if (summary := Path(words[1], "summary.json")).is_file():
            words = [*words[:2], f"total_frames={json.loads(summary.read_text())['frames'] + 100}"]
        case "bench":
            preset = Parser("bench").parse_words(words[1:]).preset
            return 0 if (ROOT / "conf" / "experiment" / f"{preset}.yaml").is_file() else 2
    return main(words)


def trained(words: list[str]) -> int:
    """Train, or copy the folder of an earlier page that trained the same."""
    (place,) = [word for word in words if word.startswith(("hydra.run.dir=", "hydra.sweep.dir="))]
    folder, rest = Path(place.partition("=")[2]), tuple(sorted(set(words) - {place}))
    if rest in _trained and "--config-dir" not in words:
        shutil.copytree(_trained[rest], folder)
        return 0
    _trained[rest] = folder.absolute()
    return main(words)


def compare(block: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Run the commands after ``$`` and compare what they print, spaces aside."""
    for command, expected in re.findall(r"^\$ qframe (.*)\n((?:(?!\$ ).*\n)*)", block, re.MULTILINE):
        capsys.readouterr()
        status = main(shlex.split(command))
        printed = "".join(capsys.readouterr())
        flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
        assert doctest.OutputChecker().check_output(expected, printed, flags), printed
        assert status == (2 if expected.startswith("qframe: ") else 0)


@pytest.fixture(autouse=True)
def _own_imports(monkeypatch):
    """Modules that a page writes are of that page alone."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield
    for name in [name for name in sys.modules if name.partition(".")[0] == "my_lab"]:
        del sys.modules[name]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_pages_examples_run(page, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    for language, title, text in blocks(page):
        if title:
            file = Path(title)
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
        elif language == "python":
            exec(compile(text, page.name, "exec"), names)
        elif language == "bash":
            for line in commands(text):
                run(line, capsys)
        elif language == "console":
            compare(text, capsys)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_command_shown_in_a_table_or_a_sentence_is_accepted(page, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for text in re.findall(r"`(qframe (?:train|check|list|bench) [^`]*)`", re.sub(BLOCK, "", page.read_text())):
        if text.split("#")[0].isascii() and not re.search(r"[A-Z]{3,}|…", text):
            words = shlex.split(text)[1:]
            assert qframe(words) == 0, f"{text}\n{capsys.readouterr().err}"


def test_no_executable_block_is_indented_or_of_another_kind():
    for page in PAGES:
        text = page.read_text()
        assert not re.search(r"^ +```(bash|console|python)", text, re.MULTILINE), page
        assert {language for language, _, _ in blocks(page)} <= {"bash", "console", "python", "yaml", "text"}, page


def test_links_of_the_readme_lead_somewhere():
    for target in re.findall(r"\]\((?!http)([^)#]+)", (ROOT / "README.md").read_text()):
        assert (ROOT / target).exists(), target


def test_the_readmes_test_command_is_what_continuous_integration_runs():
    assert "make test" in (ROOT / "README.md").read_text()
    assert "exec make test" in (ROOT / ".ci" / "run").read_text()


def test_the_readme_is_short():
    assert len((ROOT / "README.md").read_bytes()) <= 10 * 1024
