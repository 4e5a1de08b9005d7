"""What ``auto`` picks: a fixed rule."""

import pytest

from qframe.config import auto
from qframe.config.auto import resolved


def config(**changes):
    return {
        "compile": "auto", "total_frames": 61_000, "head": {"_target_": "qframe.modules.ScalarHead"},
        "optimizer": {"algorithm": {"_target_": "torch.optim.Adam"}},
        "network": {"trunk": {"_target_": "qframe.modules.MLPTrunk"}},
        "runner": {"learning_starts": 1_000, "every": 6, "updates": 2, "threads": "auto"},
    } | changes  # fmt: skip


@pytest.fixture(autouse=True)
def _a_machine(monkeypatch):
    monkeypatch.setattr(auto, "missing_compiler", lambda: None)
    monkeypatch.setattr(auto.os, "cpu_count", lambda: 8)


def test_an_update_is_compiled_where_a_run_has_enough_of_them():
    assert resolved(config())[1]["compile"] == (True, "20,000 updates")
    assert resolved(config(total_frames=60_999))[1]["compile"] == (
        False, "19,998 updates, of 20,000 that pay for compiling",
    )  # fmt: skip
    costly = config(total_frames=16_000, head={"_target_": "qframe.modules.QuantileHead"})
    assert resolved(costly)[0]["compile"] is True


def test_without_a_compiler_or_for_another_optimizer_it_goes_on_eagerly_and_says_so(monkeypatch):
    other = config(optimizer={"algorithm": {"_target_": "torch.optim.NAdam"}})
    assert resolved(other)[1]["compile"] == (False, "torch.optim.NAdam is not compiled")
    monkeypatch.setattr(auto, "missing_compiler", lambda: "none")
    value, reason = resolved(config())[1]["compile"]
    assert (value, reason) == (
        False, "20,000 updates would pay for compiling, but there is no C++ compiler: install g++",
    )  # fmt: skip


def test_threads_are_all_cores_for_images_and_one_otherwise():
    images = config(network={"trunk": {"_target_": "qframe.modules.ConvTrunk"}})
    assert resolved(images)[0]["runner"]["threads"] == 8
    assert resolved(config())[0]["runner"]["threads"] == 1


@pytest.mark.parametrize("network", [{}, 3, {"trunk": 0}, {"trunk": "torch.nn.Tanh"}])
def test_a_network_that_is_none_is_left_to_be_refused(network):
    assert resolved(config(network=network))[1]["runner.threads"] == (1, "faulty")


def test_what_is_not_auto_stays():
    given = config(compile=False, runner={"learning_starts": 0, "every": 1, "updates": 1, "threads": 3})
    assert resolved(given) == (given, {})
