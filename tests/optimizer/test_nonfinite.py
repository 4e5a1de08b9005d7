"""Updates whose loss or gradient is not finite, left out and counted where ``nonfinite=skip``."""

import json
from functools import partial

import pytest
import torch
from torch import nn, optim

from qframe.cli.main import main
from qframe.compiled import update as compiled
from qframe.objectives import DQNLoss
from qframe.optimizer import Optimizer
from qframe.optimizer.nonfinite import Diverged
from qframe.replay import ReplayBuffer
from tests.compiled.test_update import TracedFunction, check_equal, learner
from tests.optimizer.test_optimizer import ALGORITHMS
from tests.runners import prioritized
from tests.training.test_faults import SMALL


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, 2))


@pytest.mark.parametrize("algorithm", [*ALGORITHMS, optim.SGD])
@pytest.mark.parametrize("max_grad_norm", [0.5, None])
@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_a_run_with_bad_updates_among_its_own_is_the_run_without_them(algorithm, max_grad_norm, bad):
    with_bad, without = network(), network()
    skipping = Optimizer(with_bad.parameters(), algorithm, lr=1e-2, max_grad_norm=max_grad_norm, nonfinite="skip")
    plain = Optimizer(without.parameters(), algorithm, lr=1e-2, max_grad_norm=max_grad_norm)
    for factor in (bad, 1.0, bad, 2.0, 3.0, bad):
        x = torch.full((4, 3), factor)
        norm = skipping.minimize((with_bad(x) * factor).square().sum())
        assert norm is not None
        if factor is not bad:
            plain.minimize((without(x) * factor).square().sum())
    for a, b in zip(with_bad.parameters(), without.parameters(), strict=True):
        assert torch.equal(a, b)
    ours, theirs = (optimizer.state_dict()["state"] for optimizer in (skipping, plain))
    for number, state in theirs.items():
        assert all(value is None or torch.equal(value, ours[number][name]) for name, value in state.items())


def test_a_finite_loss_with_a_gradient_that_is_not_finite_is_left_out():
    weight = nn.Parameter(torch.zeros(1))
    optimizer = Optimizer([weight], optim.SGD, lr=1.0, nonfinite="skip")
    optimizer.minimize(weight.sqrt().sum())  # 0, and its slope is infinite
    assert weight.item() == 0.0
    optimizer.minimize((2 * weight).sum())
    assert weight.item() == -2.0
    with pytest.raises(ValueError, match="expected nonfinite to be stop or skip, got 'halt'"):
        Optimizer([weight], optim.SGD, lr=1.0, nonfinite="halt")  # pyright: ignore[reportArgumentType]


@pytest.fixture
def uncompiled(monkeypatch):
    monkeypatch.setattr(compiled, "NativeFunction", TracedFunction)


@pytest.fixture
def some_are_bad(monkeypatch):
    """The loss of a batch is not a number where the number of its first row is a multiple of 3."""
    forward = DQNLoss.forward

    def odd(self, batch, *arguments, **choices):
        found = forward(self, batch, *arguments, **choices)
        is_bad = batch["index"].flatten()[0] % 3 == 0
        return found.set("loss", found["loss"] * torch.where(is_bad, torch.nan, 1.0))

    monkeypatch.setattr(DQNLoss, "forward", odd)


@pytest.mark.usefixtures("uncompiled", "some_are_bad")
@pytest.mark.parametrize(
    "choices",
    [
        {},
        {"updates": 4},
        {"max_grad_norm": None},
        {"target": "hard"},
        {"algorithm": partial(optim.RMSprop, centered=True, momentum=0.5)},
    ],
    ids=str,
)
def test_the_pure_update_leaves_out_the_same(choices):
    eager, pure = check_equal(steps=12, nonfinite="skip", **choices)
    assert 0 < eager.skipped.total == pure.skipped.total < 12
    assert all(parameter.isfinite().all() for parameter in pure.loss.parameters())


@pytest.mark.usefixtures("some_are_bad")
def test_the_compiled_update_leaves_out_the_same():
    eager, compiled = check_equal(steps=12, nonfinite="skip")
    assert 0 < eager.skipped.total == compiled.skipped.total < 12


@pytest.mark.usefixtures("some_are_bad")
def test_means_are_over_the_updates_taken_and_the_count_resumes_exactly():
    whole, first, second = (learner(compiled=False, nonfinite="skip") for _ in range(3))
    for _ in range(12):
        whole.update()
    for _ in range(7):
        first.update()
    second.load_state_dict(first.state_dict())
    second.replay.load_state_dict(first.replay.state_dict())
    for _ in range(5):
        second.update()
    assert whole.take_metrics() == second.take_metrics()
    assert whole.skipped.state_dict() == second.skipped.state_dict()
    assert 0 < whole.skipped.total < 12


def test_rows_whose_error_is_not_finite_keep_their_priorities(monkeypatch):
    part = learner(compiled=False, nonfinite="skip", replay=prioritized(ReplayBuffer))
    before = part.replay.state_dict()["priorities"]["priority"]
    for parameter in part.loss.parameters():
        parameter.data.fill_(torch.nan)
    part.update()
    assert part.take_metrics() == {}
    assert part.skipped.total == 1
    assert torch.equal(part.replay.state_dict()["priorities"]["priority"], before)
    for _ in range(100):
        part.update()
    with pytest.raises(Diverged, match=r"within 101 updates: none of the last 101 updates had .*; lower optimizer.lr"):
        part.take_metrics()


def train(folder, *words):
    return main(["train", *SMALL, f"hydra.run.dir={folder}", "logger.tensorboard=false", *words])


def test_a_run_counts_skipped_updates_and_ends_if_all_are_skipped(tmp_path, monkeypatch, capsys):
    forward, calls = DQNLoss.forward, iter(range(1000))

    def odd(self, batch, *arguments, **choices):
        found = forward(self, batch, *arguments, **choices)
        return found.set("loss", found["loss"] * (torch.nan if next(calls) % 10 == 3 else 1.0))

    with monkeypatch.context() as patched:
        patched.setattr(DQNLoss, "forward", odd)
        assert train(tmp_path / "a", "optimizer.nonfinite=skip") == 0
    logs = [json.loads(line) for line in (tmp_path / "a" / "metrics.jsonl").read_text().splitlines()]
    counted = [log["train/skipped_updates"] for log in logs if "train/skipped_updates" in log]
    summary = json.loads((tmp_path / "a" / "summary.json").read_text())
    assert summary["updates"] == 148
    assert counted[-1] == 15  # the updates 3, 13, … 143
    assert all(torch.isfinite(torch.tensor(log["loss/loss"])) for log in logs if "loss/loss" in log)
    capsys.readouterr()
    words = ["optimizer.lr=1e38", "optimizer.max_grad_norm=null", "optimizer.nonfinite=skip", "checkpoint.every=100000"]
    assert train(tmp_path / "b", *words) == 2
    printed = capsys.readouterr().err
    assert "training diverged within" in printed
    assert "; lower optimizer.lr\n  at " in printed
    assert main(["check", "optimizer.nonfinite=halt"]) == 2
    assert "optimizer.nonfinite: expected one of stop, skip, got 'halt'" in capsys.readouterr().err
