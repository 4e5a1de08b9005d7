"""The score that a preset states: read as data, checked like the rest of the config, and no part of any run."""

import pytest
import yaml

from qframe.cli.main import main
from qframe.config.compose import composed
from qframe.config.hydra_app import hydra_app
from qframe.config.score import Score, preset_score

PRESET = """# @package _global_
# DQN on CartPole-v1
defaults:
  - override /head: quantile
score:
  algorithm: DQN
  expected: 490 # at least
  metric: eval_return_mean
  protocol: greedy
  seeds: 10
  source: {name: a paper, score: 500.0, protocol: 1 run}
name: mine
"""


@pytest.fixture
def own(tmp_path):
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "mine.yaml").write_text(PRESET)
    return tmp_path


def change(own, old, new):
    file = own / "experiment" / "mine.yaml"
    assert old in file.read_text()
    file.write_text(file.read_text().replace(old, new, 1))


def stated(own):
    with hydra_app(own) as app:
        return preset_score(app.config_loader, "mine")


def test_the_score_is_read(own):
    source = {"name": "a paper", "score": 500.0, "protocol": "1 run"}
    assert stated(own) == Score("DQN", 490.0, "eval_return_mean", "greedy", 10, source)


def test_a_score_may_have_no_source_and_a_preset_no_score(own):
    change(own, "  source: {name: a paper, score: 500.0, protocol: 1 run}\n", "")
    score = stated(own)
    assert score is not None
    assert score.source == {}
    change(own, "score:\n", "score: null\nhead:\n")
    assert stated(own) is None


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("  algorithm: DQN\n", "", "score.algorithm: missing; expected text"),
        ("  seeds:", "  seed:", "score.seed: unknown key; nearest is 'score.seeds'"),
        ("490", "many", "score.expected: expected a number, got 'many'"),
        ("seeds: 10", "seeds: 1.5", "score.seeds: expected an integer, got 1.5"),
        ("seeds: 10", "seeds: true", "score.seeds: expected an integer, got True"),
        ("eval_return_mean", "loss", "score.metric: expected one of eval_return_mean, "),
    ],
)
def test_faults_of_a_score_are_found_by_every_command(own, old, new, message, capsys):
    change(own, old, new)
    for command in (["check", "experiment=mine"], ["bench", "mine"], ["list", "experiment"]):
        assert main([*command, "--config-dir", str(own)]) == 2
        printed = capsys.readouterr().err
        assert message in printed
        assert "experiment/mine.yaml]" in printed


def test_a_score_that_is_no_mapping_is_a_fault(own, capsys):
    change(own, PRESET[PRESET.index("score:") :], "score: 490\n")
    assert main(["check", "experiment=mine", "--config-dir", str(own)]) == 2
    assert "score: expected a mapping with the keys algorithm, expected" in capsys.readouterr().err


def test_a_score_is_no_part_of_the_config_and_cannot_be_set(own, capsys):
    with hydra_app(own) as app:
        composition = composed(app.config_loader, ["experiment=mine"], {})
    assert composition.score["expected"] == 490
    assert "score" not in composition.config
    assert main(["check", "score.expected=3"]) == 2
    assert "score.expected: no run depends on it; state it in the preset's file" in capsys.readouterr().err


def test_the_score_is_printed_with_the_config_and_the_list_of_presets(own, capsys):
    assert main(["check", "--print", "experiment=mine", "--config-dir", str(own)]) == 0
    printed = capsys.readouterr().out
    assert yaml.safe_load(printed.partition("\n\n")[0])["score"] == yaml.safe_load(PRESET)["score"]
    (line,) = (line for line in printed.splitlines() if line.startswith("  expected: 490"))
    assert line.endswith("experiment/mine.yaml: at least")
    assert main(["list", "experiment", "--config-dir", str(own)]) == 0
    lines = [line.strip() for line in capsys.readouterr().out.splitlines()]
    start = lines.index(next(line for line in lines if line.startswith("mine ")))
    assert lines[start + 1 : start + 4] == [
        "DQN: IQM of eval_return_mean over 10 seeds at least 490",
        "protocol: greedy",
        "published: 500.0 by a paper (1 run)",
    ]


def test_every_key_is_printed_with_its_comment(capsys):
    assert main(["check", "--print", "experiment=cartpole_dqn"]) == 0
    (line,) = (line for line in capsys.readouterr().out.splitlines() if line.startswith("gamma: "))
    assert line.split("  # ")[1] == "conf/train.yaml: discount per step"
