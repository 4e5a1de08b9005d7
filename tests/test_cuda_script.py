"""A sample of ``scripts/cuda.py`` on the CPU, and what becomes of a check that fails or takes too long."""

import sys

import pytest
import torch

from qframe.cli.main import main as qframe
from qframe.compiled import update as compiled_update
from qframe.compiled.cuda_graph import CapturedFunction
from scripts import cuda

HERE = cuda.Context(torch.device("cpu"), seconds=0.02)


def is_shown(rows):
    found = list(rows)
    failed = [row for row in found if row.ok is False]
    assert not failed, failed
    return len(found)


def test_without_a_gpu_it_ends_with_one_line(monkeypatch, capsys):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(sys, "argv", ["cuda.py"])
    assert cuda.main() == 2
    line = "this machine has no CUDA device; --device cpu runs what can be shown without one\n"
    assert capsys.readouterr() == ("", line)


def test_the_budgets_add_up_to_eight_minutes():
    assert sum(check.budget for check in cuda.CHECKS.values()) <= 480


@pytest.mark.parametrize("name", ["shapes", "replay", "autocast"])
def test_a_check_holds_on_the_cpu(name):
    assert is_shown(cuda.CHECKS[name].rows(HERE))


@pytest.mark.parametrize(("mode", "cases"), [(False, tuple(cuda.CASES)), ("cuda_graph", ("rainbow", "memory"))])
def test_updates_are_those_of_the_cpu(mode, cases, monkeypatch):
    monkeypatch.setattr(compiled_update, "CapturedFunction", CapturedFunction)  # the stand-in is taken back
    assert is_shown(cuda.check_heads(HERE, mode, cases)) == len(cases)


def test_memory_does_not_grow():
    assert is_shown(cuda.check_memory(HERE, modes=(False,))) == 1


@pytest.mark.parametrize("name", cuda.W9)
def test_the_plain_loop_learns_beside_an_update(name, monkeypatch):
    monkeypatch.setattr(cuda, "_frames", lambda *_: cuda.Row("frames", "not run"))
    speeds, _ = cuda.check_w9(HERE, name)
    assert "updates/s, plain torch" in speeds.measured
    loop = cuda.TorchLoop(HERE.device, 44, is_rainbow=name == "rainbow", capacity=64, batch_size=8)
    for rows in cuda.steps(cuda.CASES["images"], 16):
        after = rows["next"]
        ended = after["terminated"].squeeze(1).float()
        loop.store(rows["observation"], rows["action"], after["reward"].squeeze(1), ended, after["observation"])
    before = [parameter.clone() for parameter in loop.target.parameters()]
    loop.update()
    assert all(parameter.isfinite().all() for parameter in loop.target.parameters())
    assert not all(map(torch.equal, before, loop.target.parameters()))


def test_two_runs_are_compared_part_by_part(monkeypatch):
    def training(folder, context, *words):
        monkeypatch.setattr(cuda, "finished", lambda process, folder: folder)
        assert qframe(["train", *words, f"device={context.device}", f"hydra.run.dir={folder}"]) == 0

    monkeypatch.setattr(cuda, "training", training)
    monkeypatch.setattr(cuda, "SMALL", ["total_frames=300" if "total" in word else word for word in cuda.SMALL])
    assert is_shown(cuda.check_deterministic(HERE)) == 1


def test_a_check_that_fails_is_a_row(monkeypatch):
    def broken(context):
        yield cuda.Row("first", "1", "1", True)
        raise RuntimeError("the GPU is gone\nmore")

    monkeypatch.setitem(cuda.CHECKS, "shapes", cuda.Check(broken, 1))
    assert list(cuda.rows_of("shapes", HERE))[1:] == [
        cuda.Row("failed", "RuntimeError: the GPU is gone more", "", False)
    ]


def test_a_check_that_takes_too_long_is_ended_and_is_a_row():
    (row,) = cuda.run_apart("heads-eager", HERE, budget=0.2)
    assert row == cuda.Row("the rest", "not finished within its budget of 0 s", "", False)
    assert cuda.line_of("heads-eager", row).endswith("| NO |")
