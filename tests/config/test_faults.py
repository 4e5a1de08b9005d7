"""Faults that only building shows are told together with those of the config's form, on the real configuration."""

import pytest

from qframe.cli.main import main


def faults(capsys, *words):
    assert main(["check", *words]) == 2
    return capsys.readouterr().err.removeprefix("qframe: ").splitlines()


def test_the_faults_of_all_groups_are_told_at_once(capsys):
    words = ["gamma=3", "env.num_env=2", "head=quantile", "head.num_quantiles=0", "exploration.eps_init=7"]
    found = faults(capsys, *words, "target.tau=9", "replay.n_step=0", "runner.every=0", "evaluation.every=0")
    assert found[0] == "8 faults in the configuration"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["optimizer.lr=inf"], "optimizer.lr: expected a finite number, got inf  [command line]"),
        (["head=quantile", "head.kappa=nan"], "head.kappa: expected a finite number, got nan  [command line]"),
        (["runner.updates=0"], "runner: expected updates of at least 1, got 0"),
        (["runner.learning_starts=0"], "runner.learning_starts: expected at least 16 frames, so that the replay holds"),
        (["replay.capacity=1e15"], "replay.capacity: expected a capacity that fits the memory, got 1,000,000"),
        (["priorities=proportional", "replay.capacity=1e15"], "replay: expected sizes that fit this machine's mem"),
        (["priorities=proportional", "replay.capacity=1e30"], "replay: expected sizes that fit this machine's mem"),
        (["trunk.num_cells=[1000000,1000000]"], "trunk: expected sizes that fit this machine's mem"),
        (["optimizer.algorithm.foreach=true"], "optimizer: `fused` and `foreach` cannot be `True` together."),
        (["env.id=os.path:CartPole-v1"], "env.id: expected an id without a module, or of a trusted one, got 'os.path"),
        (["head._target_=qframe.runs.folder.write_json"], "head._target_: expected a class or function written"),
        (["head._target_=qframe.modules._private"], "head._target_: expected a class or function written"),
        (["exploration=bootstrapped"], "exploration: expected an ensemble to act by its members, got QNet; use"),
        (
            ["network=ensemble", "exploration=bootstrapped", "estimator=retrace", "replay=slices"],
            "exploration: expected exploration that knows the probability of its actions for Retrace, got Bootstrapped",
        ),
        (
            ["env=gymnasium", "env.id=CliffWalking-v1", "replay=frames"],
            "replay.stack: expected observations of 4 frames along their first dimension, got Discrete(48); set",
        ),
        (["=5"], "expected key=value or group=option, got '=5'"),
        (["env=null"], "env: unknown option 'null'"),
        (["~runner.stop.wall_seconds"], "~runner.stop.wall_seconds: its value is null: there is nothing to take out"),
        (["name=ä"], "expected key=value or group=option, got 'name=ä' (a character that needs quotes)"),
    ],
)
def test_a_fault_is_told_in_one_line(words, message, capsys):
    (line,) = faults(capsys, *words)
    assert line.startswith(message)


def test_an_item_of_a_list_given_on_the_command_line_is_placed_there(capsys):
    (line,) = faults(capsys, "trunk.num_cells=[8,x]")
    assert line.startswith("trunk.num_cells[1]")
    assert line.endswith("[command line]")
