import subprocess

import pytest
import yaml

from qframe.cli.completion import candidates
from qframe.cli.main import main


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("qframe tra", ["train"]),
        ("qframe train head=q", ["head=quantile"]),
        ("qframe train -m head=scalar,implicit", ["head=scalar,implicit_quantile"]),
        ("qframe train head=quantile head.k", ["head.kappa="]),
        ("qframe train -m seed=1,2 opti", ["optimizer.", "optimizer="]),
        ("qframe check env.num_envs=", ["env.num_envs=8"]),
        ("qframe train --config-", ["--config-dir"]),
        ("qframe list hea", ["head"]),
        ("qframe compare out", []),  # folders are the shell's own
        ("qframe nonsense ", []),
    ],
)
def test_a_line_is_completed(line, expected):
    assert candidates(line) == expected


def test_an_empty_line_is_completed_by_the_commands(capsys):
    assert main(["completion", "query"]) == 0
    assert "train" in capsys.readouterr().out.split()


def test_a_mistake_earlier_in_the_line_does_not_hinder():
    assert candidates("qframe train nonsense=1 head=othr gamma") == ["gamma="]


def test_bash_completes_with_the_script(tmp_path, capsys):
    lines = {"qframe train head=q": "quantile |", "qframe train head=quantile head.k": "head.kappa=|"}
    for words in (["bash"], *(["query", line] for line in lines)):  # asked here: a process would import torch again
        assert main(["completion", *words]) == 0
        (tmp_path / f"completion {' '.join(words)}").write_text(capsys.readouterr().out)
    (tmp_path / "qframe").write_text('#!/bin/sh\nexec cat "${0%/*}/$*"\n')
    (tmp_path / "qframe").chmod(0o755)
    script = """
        PATH="$0:$PATH"; eval "$(qframe completion bash)"
        COMP_LINE="$1"; COMP_POINT=${#COMP_LINE}; COMP_WORDBREAKS=$' \\t\\n=:'; _qframe; printf '%s|' "${COMPREPLY[@]}"
    """
    for line, expected in lines.items():
        done = subprocess.run(["bash", "-c", script, tmp_path, line], capture_output=True, text=True, check=True)
        assert done.stdout == expected


def test_another_shell_is_refused(capsys):
    assert main(["completion", "bsh"]) == 2
    assert "unknown shell 'bsh'; nearest is 'bash'" in capsys.readouterr().err


def test_check_prints_the_config_with_where_each_value_comes_from(capsys, tmp_path):
    (tmp_path / "own" / "head").mkdir(parents=True)
    (tmp_path / "own" / "head" / "mine.yaml").write_text("# mine\ndefaults: [quantile, _self_]\nnum_quantiles: 7\n")
    words = ["head=mine", "optimizer.lr=1e-3", "trunk.num_cells=[8]", "name='off'"]
    assert main(["check", "--print", "--config-dir", str(tmp_path / "own"), *words]) == 0
    printed = capsys.readouterr().out
    config = printed.partition("\nscore:")[0].splitlines()
    origins = {line: line.partition("  # ")[2].partition(": ")[0] for line in config}
    lines = {tuple(line.split("  # ")[0].split(": ", 1)): origin for line, origin in origins.items()}
    found = {key[0].strip(): (key[1].strip(), origin) for key, origin in lines.items() if len(key) == 2 and origin}
    assert found["num_quantiles"] == ("7", str(tmp_path / "own" / "head" / "mine.yaml"))
    assert found["lr"] == ("0.001", "command line")
    assert found["num_cells"] == ("[8]", "command line")
    assert found["name"] == ('"off"', "command line")
    assert found["kappa"][1].endswith("conf/head/quantile.yaml")
    assert found["total_frames"][1].endswith("conf/train.yaml")
    assert found["gamma"][1].endswith("conf/train.yaml")
    assert "no faults found" in printed


def test_what_check_prints_is_yaml_that_says_the_same(capsys):
    assert main(["check", "--print", "experiment=cartpole_rainbow"]) == 0
    text = capsys.readouterr().out.partition("\n\n")[0]
    config = yaml.safe_load(text)
    assert config["head"]["_target_"] == "qframe.heads.CategoricalHead"
    assert config["device"] == "auto"
    assert isinstance(config["network"]["noisy"], bool)


def test_faults_come_after_the_config(capsys):
    assert main(["check", "--print", "gamma=2"]) == 2
    captured = capsys.readouterr()
    assert "gamma: 2.0" in captured.out
    assert "expected a number from 0 to 1" in captured.err
