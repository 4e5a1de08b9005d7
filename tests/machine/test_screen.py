"""The screen is a log: it may fail at any moment, and nothing else fails with it."""

import errno
import io
import json
import os
import subprocess
import sys

import pytest

from qframe.cli.main import main
from qframe.machine.screen import Stream, guarded_screen

TINY = ["total_frames=120", "runner.learning_starts=50", "evaluation.every=100", "evaluation.episodes=1",
        "evaluation.final_episodes=1", "checkpoint.every=100", "logger.every=20", "logger.tensorboard=false",
        "compile=false", "replay.capacity=200", "hydra.run.dir=run"]  # fmt: skip


class Full(io.StringIO):
    """A stream on a full disk, or whose reader has left."""

    def __init__(self, number=errno.ENOSPC):
        super().__init__()
        self.number, self.attempts = number, 0

    def write(self, text):
        self.attempts += 1
        raise OSError(self.number, os.strerror(self.number))


def pair(output, error):
    out, err = Stream(output, "standard output"), Stream(error, "standard error")
    out.other, err.other = err, out
    return out, err


def test_a_stream_that_fails_is_left_out_after_one_warning_on_the_other():
    full, error = Full(), io.StringIO()
    out, _ = pair(full, error)
    for _ in range(3):
        assert out.write("line\n") == 5
    assert full.attempts == 1
    assert error.getvalue() == (
        "qframe: warning: standard output cannot be written (No space left on device); nothing more goes there\n"
    )
    assert not out.has_reader


def test_errors_go_to_standard_output_if_standard_error_fails():
    output = io.StringIO()
    _, err = pair(output, Full())
    err.write("qframe: mistake\n")
    assert output.getvalue().splitlines()[1:] == ["qframe: mistake"]


def test_both_may_fail_and_a_closed_stream_is_one_that_fails():
    out, err = pair(None, Full())
    out.write("text")
    err.write("text")
    out.flush()
    assert not out.isatty()
    assert out.encoding == "utf-8"
    assert out.fault is not None
    assert err.fault is not None


@pytest.mark.parametrize(
    ("encoding", "text"),
    [
        ("ascii", "500.0 +- 0.3 -> ?"),
        ("latin-1", "500.0 +- 0.3 -> ?"),
        ("cp1252", "500.0 +- 0.3 -> ?"),
        ("utf-8", "500.0 ± 0.3 → ε"),
    ],
)
def test_characters_that_an_encoding_lacks_are_replaced(encoding, text):
    raw = io.BytesIO()
    stream = Stream(io.TextIOWrapper(raw, encoding=encoding), "standard output")
    stream.write("500.0 ± 0.3 → ε")
    stream.flush()
    assert raw.getvalue().decode(encoding) == text


def test_the_earlier_streams_return_afterwards():
    earlier = sys.stdout, sys.stderr
    with guarded_screen() as screen:
        assert (sys.stdout, sys.stderr) == (screen.output, screen.error)
    assert (sys.stdout, sys.stderr) == earlier


@pytest.mark.parametrize(
    ("redirection", "status", "message"),
    [
        ("| head -1", 0, ""),
        (">/dev/full", 2, "standard output cannot be written (No space left on device)"),
        (">&-", 2, "standard output cannot be written (it is closed)"),
    ],
)
def test_a_command_that_only_prints_has_failed_if_nobody_could_read_it(redirection, status, message, tmp_path):
    command = f"set -o pipefail; {sys.executable} -m qframe --help {redirection}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == status
    assert message in done.stderr
    assert bool(done.stderr) == bool(message)


@pytest.mark.parametrize("redirection", ["| head -1", ">/dev/full 2>&1", "<&- >&- 2>&-"])
def test_a_run_trains_to_its_end_without_a_screen(redirection, tmp_path):
    command = f"set -o pipefail; {sys.executable} -m qframe train {' '.join(TINY)} {redirection}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "run" / "summary.json").read_text())["status"] == "finished"
    assert "Traceback" not in done.stderr
    assert done.stderr.count("warning") == (redirection == "| head -1")


def test_a_run_trains_in_ascii(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding="ascii"))
    assert main(["train", *TINY]) == 0
    assert b"+-" in raw.getvalue()
