"""Only operations that give the same bits every time, by choice, on a GPU."""

import os

import pytest
import torch

import qframe.cli.main as cli
from qframe.machine import determinism

CUBLAS = "CUBLAS_WORKSPACE_CONFIG"


@pytest.fixture
def asked(monkeypatch):
    """What torch is asked for, in place of it being done."""
    calls = []
    monkeypatch.setattr(torch, "use_deterministic_algorithms", calls.append)
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", True)
    monkeypatch.delenv(CUBLAS, raising=False)
    yield calls
    os.environ.pop(CUBLAS, None)


def test_a_gpu_is_held_to_operations_that_are_the_same_every_time(asked):
    determinism.only_deterministic(torch.device("cuda", 0))
    assert asked == [True]
    assert os.environ[CUBLAS] == ":4096:8"
    assert not torch.backends.cudnn.benchmark


def test_the_cpu_needs_nothing(asked):
    determinism.only_deterministic(torch.device("cpu"))
    assert asked == []
    assert CUBLAS not in os.environ


def test_an_operation_without_a_deterministic_form_is_reported_in_a_line(monkeypatch, capsys):
    def fail(words):
        raise RuntimeError(
            "adaptive_max_pool2d_backward_cuda does not have a deterministic implementation, but you set "
            "'torch.use_deterministic_algorithms(True)'. You can turn off determinism just for this operation"
        )

    monkeypatch.setattr(cli, "_parsed", fail)
    assert cli.main(["train"]) == 2
    said = capsys.readouterr().err
    assert said == (
        "qframe: deterministic: adaptive_max_pool2d_backward_cuda does not have a deterministic implementation; set "
        "deterministic=false\n"
    )
