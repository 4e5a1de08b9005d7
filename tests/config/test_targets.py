import sys
from functools import partial

import pytest
import torch
from torch import nn

from qframe.config.targets import instantiate, resolve, trust
from qframe.errors import ConfigError, UserError

pytestmark = pytest.mark.usefixtures("toy")


@pytest.mark.parametrize(
    "target",
    [
        "os.system",
        "builtins.eval",
        "subprocess.Popen",
        "qframe.config.targets.importlib.import_module",
        "qframe.config.targets.instantiate",
        "qframe.cli.main.main",
        "qframe.functional.action.torch",
        "qframe.functional.action.torch.load",
        "qframe.functional.action.NamedTuple",
        "torch.load",
        "torch.nn.functional.relu",
        "torch.nn.Tensor",
        "torch.hub.load",
        "toy_parts_evil.Part",
        "toy_parts.nn.Module",
        "toy_parts.torch",
        "toy_parts.Part.__init__",
    ],
)
def test_what_is_not_written_in_an_allowed_package_is_refused(target):
    with pytest.raises(ConfigError):
        resolve(target, "head._target_")


def test_a_refused_name_is_not_imported(tmp_path, monkeypatch):
    (tmp_path / "harmful.py").write_text("raise SystemExit('imported')")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(ConfigError, match="'harmful.Part' is not a class or function written in qframe, torch.nn"):
        resolve("harmful.Part")


def test_the_refusal_says_what_is_allowed_and_how_to_trust():
    with pytest.raises(ConfigError) as caught:
        resolve("os.system", "head._target_")
    assert str(caught.value) == (
        "head._target_: 'os.system' is not a class or function written in qframe, torch.nn, torch.optim, toy_parts; "
        "trust a package of your own with --trust PREFIX"
    )


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("toy_parts.Hed", "nearest is 'toy_parts.Head'"),
        ("qframe.functional.actoin.greedy", "nearest is 'qframe.functional.greedy'"),
        ("torch.nn.Tanhh", "nearest is 'torch.nn.Tanh"),
        ("toy_parts.Env.from_nam", "nearest is 'toy_parts.Env.from_name'"),
        ("Head", "expected a dotted name such as qframe.networks.MLP, got 'Head'"),
        ("toy_parts.2", "expected a dotted name"),
    ],
)
def test_a_mistyped_name_is_reported_with_the_nearest(target, message):
    with pytest.raises(ConfigError, match=message):
        resolve(target)


def test_parts_of_torch_trusted_packages_and_classmethods_resolve():
    assert resolve("torch.nn.Tanh") is nn.Tanh
    assert resolve("torch.optim.lr_scheduler.StepLR") is torch.optim.lr_scheduler.StepLR
    assert resolve("toy_parts.Part").__name__ == "Part"
    assert resolve("toy_parts.Env.from_name")("x").id == "x"


def test_a_broken_trusted_module_is_a_fault_and_a_missing_package_is_named(tmp_path, monkeypatch):
    (tmp_path / "broken.py").write_text("def f(:\n")
    (tmp_path / "needy.py").write_text("import not_installed_at_all\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    trust("broken", "needy", "absent")
    with pytest.raises(ConfigError, match="importing 'broken' failed: SyntaxError"):
        resolve("broken.Part")
    with pytest.raises(ConfigError, match="needs the package 'not_installed_at_all', which is not installed"):
        resolve("needy.Part")
    with pytest.raises(ConfigError, match=r"there is no 'absent.Part'; is it installed"):
        resolve("absent.Part")


def test_trust_wants_a_dotted_name():
    with pytest.raises(UserError, match="expected a dotted package name such as mylab.heads, got 'my-lab'"):
        trust("my-lab")


def test_nested_nodes_are_built_first_and_names_become_classes():
    node = {
        "_target_": "toy_parts.Net",
        "trunk": {"_target_": "toy_parts.Trunk", "sizes": [4], "activation": "torch.nn.Tanh"},
    }
    net = instantiate(node, where="network", features=3, nobody_asks_for_this=1)
    assert net.trunk.sizes == [4]
    assert net.trunk.activation is nn.Tanh
    assert net.features == 3


def test_a_node_that_waits_for_arguments_is_a_function():
    node = {
        "_target_": "toy_parts.Optimizer",
        "algorithm": {"_target_": "torch.optim.SGD", "momentum": 0.9},
        "betas": [0.5, 0.6],
    }
    optimizer = instantiate(node)
    assert isinstance(optimizer.algorithm, partial)
    assert optimizer.algorithm([nn.Parameter(torch.zeros(1))], lr=0.1).defaults["momentum"] == 0.9
    assert optimizer.betas == (0.5, 0.6)


def test_a_constructors_refusal_is_a_fault_at_its_place():
    with pytest.raises(ConfigError) as caught:
        instantiate({"_target_": "toy_parts.Env", "id": "x", "num_envs": 0}, where="env")
    assert str(caught.value) == "env: expected at least one environment, got 0"


def test_a_wrapper_that_needs_a_package_says_which(monkeypatch):
    monkeypatch.setitem(sys.modules, "array_api_compat", None)
    with pytest.raises(ConfigError, match="'gymnasium.wrappers.NumpyToTorch' needs the package array_api_compat; pip"):
        resolve("NumpyToTorch")
