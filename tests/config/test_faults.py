"""Faults that only building shows are reported together with those of the config's form, on the real configuration."""

import pytest

from qframe.cli.main import main
from tests.config.toy import write


def faults(capsys, *words):
    assert main(["check", *words]) == 2
    return capsys.readouterr().err.removeprefix("qframe: ").splitlines()


def test_the_faults_of_all_groups_are_reported_at_once(capsys):
    words = ["gamma=3", "env.num_env=2", "head=quantile", "head.num_quantiles=0", "exploration.eps_init=7"]
    found = faults(capsys, *words, "target.tau=9", "replay.n_step=0", "runner.every=0", "evaluation.every=0")
    assert found[0] == "8 faults in the configuration"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["optimizer.lr=inf"], "optimizer.lr: expected a finite number, got inf  [command line]"),
        (["head=quantile", "head.kappa=nan"], "head.kappa: expected a finite number, got nan  [command line]"),
        (["runner.updates=0"], "runner: expected updates of at least 1, got 0"),
        (["runner.learning_starts=0"], "runner.learning_starts: must be at least 16, so that the replay holds a trans"),
        (["replay.capacity=1e15"], "replay.capacity: too large for the memory: 64,000,000.00 GB (1,000,000,0"),
        (["priorities=proportional", "replay.capacity=1e15"], "replay: does not fit this machine's memory: "),
        (["priorities=proportional", "replay.capacity=1e30"], "replay: does not fit this machine's memory: "),
        (["trunk.num_cells=[1000000,1000000]"], "trunk: does not fit this machine's memory: "),
        (["optimizer.algorithm.foreach=true"], "optimizer: `fused` and `foreach` cannot be `True` together."),
        (["env.id=os.path:CartPole-v1"], "env.id: the id 'os.path:CartPole-v1' imports a module that is not trusted;"),
        (["head._target_=qframe.runs.folder.write_json"], "head._target_: 'qframe.runs.folder.write_json' is not a cl"),
        (["head._target_=qframe.modules._private"], "head._target_: 'qframe.modules._private' is not a class or func"),
        (["exploration=bootstrapped"], "exploration: Bootstrapped acts by the members of an ensemble, and QNet"),
        (
            ["network=ensemble", "exploration=bootstrapped", "estimator=retrace", "replay=slices"],
            "exploration: Retrace needs the probability of each action, which Bootstrapped does not know; use",
        ),
        (
            ["env=gymnasium", "env.id=CliffWalking-v1", "replay=frames"],
            "replay.stack: an observation must be 4 frames along its first dimension, but is Discrete(48); set",
        ),
        (["=5"], "expected key=value or group=option, got '=5'"),
        (["env=null"], "env: unknown option 'null'"),
        (["experiment=null"], "experiment: unknown option 'null'; leave the group out with '~experiment'"),
        (["activation=relu"], "activation: unknown key; it is trunk.activation"),
        (
            ["trunk.activation=relu"],
            "trunk.activation: expected a dotted name such as qframe.networks.MLP, got 'relu'; write torch.nn.ReLU",
        ),
        (["hydra.launcher.jbos=2"], "hydra.launcher.jbos: unknown key; nearest is 'hydra.launcher.jobs' (valid: jobs)"),
        (["hydra/launcher=lcal"], "hydra/launcher: unknown option 'lcal'; nearest is 'local'"),
        (["~runner.stop.wall_seconds"], "~runner.stop.wall_seconds: nothing to remove: its value is null"),
        (["name=ä"], "expected key=value or group=option, got 'name=ä'; quote values with special characters"),
        (["network.memory=lstm"], "network.memory: unknown key of qframe.networks.QNet; it is a group of its own"),
        (["env.brings.seed=3"], "env.brings.seed: only the file of an environment or a memory can bring choices along"),
        ([""], "expected key=value or group=option, got ''  [command line]"),
        (["seed"], "expected key=value or group=option, got 'seed'  [command line]"),
    ],
)
def test_a_fault_is_reported_in_one_line(words, message, capsys):
    (line,) = faults(capsys, *words)
    assert line.startswith(message)


def test_an_item_of_a_list_given_on_the_command_line_is_placed_there(capsys):
    (line,) = faults(capsys, "trunk=mlp", "trunk.num_cells=[8,x]")
    assert line.startswith("trunk.num_cells[1]")
    assert line.endswith("[command line]")


def test_a_preset_without_a_package_line_is_reported(capsys, tmp_path):
    write(tmp_path / "experiment" / "mine.yaml", "defaults:\n  - override /head: quantile\ngamma: 0.9\n")
    (line,) = faults(capsys, "--config-dir", str(tmp_path), "experiment=mine")
    assert line.startswith("experiment: its first line must be '# @package _global_', as a preset sets keys")
    assert line.endswith("experiment/mine.yaml]")


@pytest.mark.parametrize("entry", ["- {name}", "- /experiment: {name}"])
def test_defaults_that_lead_in_a_circle_are_reported(entry, capsys, tmp_path):
    for name, other in (("one", "two"), ("two", "one")):
        text = f"# @package _global_\ndefaults:\n  {entry.format(name=other)}\n"
        write(tmp_path / "experiment" / f"{name}.yaml", text)
    (line,) = faults(capsys, "--config-dir", str(tmp_path), "experiment=one")
    assert line.startswith("the defaults of these files lead in a circle; remove one entry  [")
    assert line.endswith("experiment/two.yaml]")


def test_a_preset_that_does_not_override_a_group_is_told_how(capsys, tmp_path):
    write(tmp_path / "experiment" / "mine.yaml", "# @package _global_\ndefaults: [{head: quantile}]\n")
    (line,) = faults(capsys, "--config-dir", str(tmp_path), "experiment=mine")
    assert line.startswith("experiment: its defaults list must say 'override /head: quantile', as a preset changes a")
    assert line.endswith("experiment/mine.yaml]")
