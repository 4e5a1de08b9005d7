"""A few mutated configs; ``scripts/fuzz.py`` tries a thousand."""

import signal

import pytest

from qframe.cli.main import main
from scripts import fuzz


def test_mutated_configs_train_or_are_refused_in_words(capsys, monkeypatch):
    earlier = signal.getsignal(signal.SIGALRM)
    try:
        assert fuzz.run(10, seed=5) == 0, capsys.readouterr().out
    finally:
        signal.signal(signal.SIGALRM, earlier)


def broken(words):
    raise RuntimeError("boom")


@pytest.mark.parametrize(("run", "found"), [(broken, "escaped"), (lambda words: 1, "traceback (status 1)")])
def test_what_is_neither_is_found(run, found, monkeypatch, capsys):
    monkeypatch.setattr(fuzz, "main", run)
    assert fuzz.outcome(["train"])[0] == found
    assert fuzz.main is not main
