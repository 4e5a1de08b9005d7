"""Classes of somebody else: used if they fit, and reported in one line with exit status 2 if they do not."""

import sys

import pytest

from qframe.cli.main import main

CLASSES = """
import torch
from torch import nn
from qframe.networks import QNet, Trunk

class Plain(nn.Module):
    def __init__(self, num_observations=4, num_actions=2):
        super().__init__()
        self.net = nn.Linear(num_observations, num_actions)

class Bare:
    pass

class NoTrunk(QNet):
    def __init__(self, make_head, *, action_space):
        super().__init__(Renamed((4,)), make_head, action_space=action_space)

class Mute(nn.Module):
    def __init__(self, trunk, make_head, *, action_space):
        super().__init__()

class Renamed(nn.Module):
    def __init__(self, shape, width=16):
        super().__init__()
        self.net = nn.Linear(shape[0], width)
    def forward(self, x):
        return self.net(x)

class Lazy(Renamed):
    def __init__(self, anything):
        nn.Module.__init__(self)
        self.net = nn.LazyLinear(8)

class WrongWidth(Renamed):
    num_features = 7

class WrongShape(Renamed):
    def forward(self, x):
        return self.net(x).sum(-1)

class Failing(Renamed):
    def forward(self, x):
        return {}["lost"]

class Broken(Renamed):
    def __init__(self, shape):
        {}["missing"]

class Explorer:
    has_probability = reads_members = False
    def __init__(self, space): ...
    def explore(self, action, mask=None, value=None):
        return action
"""
QUICK = ["total_frames=300", "runner.learning_starts=100", "replay.capacity=1000", "evaluation.final_episodes=2",
         "evaluation.every=1e6", "compile=false", "hydra.run.dir=run"]  # fmt: skip


@pytest.fixture(autouse=True)
def theirs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "theirs.py").write_text(CLASSES)
    for group, name in [("network", "Plain"), ("network", "Bare"), ("network", "NoTrunk"), ("network", "Mute"),
                        ("trunk", "Bare"), ("trunk", "Renamed"), ("trunk", "Lazy"), ("trunk", "WrongWidth"),
                        ("trunk", "WrongShape"), ("trunk", "Failing"), ("trunk", "Broken"),
                        ("exploration", "Explorer")]:  # fmt: skip
        file = tmp_path / "conf" / group / f"{name}.yaml"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"# Theirs\n_target_: theirs.{name}\n")
    yield
    sys.modules.pop("theirs", None)


def call(command, *words, capfd):
    status = main([command, "--config-dir", "conf", "--trust", "theirs", *words])
    return status, capfd.readouterr().err


@pytest.mark.parametrize("trunk", ["Renamed", "Lazy"])
def test_a_module_is_a_trunk_whatever_its_argument_is_called_and_without_num_features(trunk, capfd):
    assert call("train", f"trunk={trunk}", *QUICK, capfd=capfd)[0] == 0


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        ("network=Plain", "network: Plain(trunk, make_head, …) failed: TypeError: "),
        ("network=Bare", "network: Bare cannot be called: too many positional arguments; its first arguments must be "),
        ("network=NoTrunk", "its first arguments must be trunk and make_head, with any names"),
        ("network=Mute", "network: Mute has no observe, predict, head, branches; subclass qframe.networks.QNet, or "),
        ("trunk=Bare", "trunk: Bare cannot be called: too many positional arguments; its first arguments must be "),
        ("trunk=WrongWidth", "trunk: WrongWidth returns 16 features, but its num_features is 7; make them equal"),
        ("trunk=WrongShape", "must return features [B, num_features] of observations [2, 4], not [2]"),
        ("trunk=Failing", "trunk: Failing failed on two observations: KeyError: 'lost', at "),
        ("trunk=Broken", "trunk: Broken(observation_shape, …) failed: KeyError: 'missing', at "),
        ("exploration=Explorer", "exploration: Explorer has no metrics, probability, stored, step, state_dict, load"),
        ("optimizer.algorithm=torch.optim.LBFGS", "LBFGS cannot step on the gradient of a batch: its step evaluates"),
        ("optimizer.algorithm=torch.optim.SparseAdam", "SparseAdam cannot step on the gradient of a batch: Sparse"),
        ("hydra/sweeper=basic", "qframe runs no sweep with Hydra's own sweeper basic; valid: grid, optuna"),
    ],
)
def test_a_class_that_does_not_fit_is_reported_in_one_line(choice, message, capfd):
    status, printed = call("check", choice, capfd=capfd)
    assert status == 2
    assert message in printed
    assert "Traceback" not in printed
    assert len(printed.splitlines()) == 1


def test_a_file_that_is_not_utf_8_is_named(tmp_path, capfd):
    (tmp_path / "conf" / "trunk" / "Latin.yaml").write_bytes(b"# caf\xe9\n_target_: theirs.Renamed\n")
    status, printed = call("check", "trunk=Latin", capfd=capfd)
    assert (status, printed) == (2, "qframe: not text in UTF-8; save it in that encoding  [conf/trunk/Latin.yaml]\n")
