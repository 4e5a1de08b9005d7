"""What presets and typed keys say of a sweep is done or refused, and never ignored."""

from pathlib import Path

import pytest

from qframe.cli.main import main

MINE = """# @package _global_
defaults:
  - override /hydra/launcher: local
  - override /head: {head}
name: {name}
hydra: {{launcher: {{jobs: 1}}, sweeper: {{params: {{seed: "1,2"}}}}}}
"""


@pytest.fixture(autouse=True)
def presets(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "own" / "experiment"
    folder.mkdir(parents=True)
    for name, head in (("mine", "quantile"), ("other", "categorical")):
        (folder / f"{name}.yaml").write_text(MINE.format(name=name, head=head))
    (folder / "child.yaml").write_text("# @package _global_\ndefaults:\n  - mine\n  - override /head: scalar\n")
    return folder


def plan(*words):
    return main(["train", "-m", "--dry-run", "--config-dir", "own", *words])


def test_a_preset_sweeps_over_its_own_values(capsys):
    assert plan("experiment=mine") == 0
    assert capsys.readouterr().out.count(" new") == 2


def test_a_preset_that_is_swept_over_cannot_set_up_the_sweep(capsys):
    assert plan("experiment=mine,other") == 2
    printed = capsys.readouterr().err
    for name in ("mine", "other"):
        message = "sweep over one preset, or type hydra.launcher.jobs=1 seed=1,2  [own/experiment/"
        assert f"{message}{name}.yaml]" in printed
    assert plan("experiment=mine,other", "hydra.launcher.jobs=1", "seed=1,2") == 0
    assert capsys.readouterr().out.count(" new") == 4
    assert plan("sweep=dqn,quantile", "seed=1") == 2
    assert "hydra/sweeper: a preset that is swept over chooses optuna" in capsys.readouterr().err


@pytest.mark.parametrize("words", [["experiment=[mine,other]"], ["experiment=mine", "sweep=categorical"]])
def test_two_presets_that_choose_different_options_are_refused(words, capsys):
    assert plan(*words) == 2
    message = "head: two presets contradict each other: own/experiment/mine.yaml chooses quantile, "
    assert message in capsys.readouterr().err
    assert plan("experiment=[mine,other]", "head=scalar", "seed=1") == 0


def test_a_preset_may_override_the_one_that_it_extends(capsys):
    assert plan("experiment=child", "seed=1") == 0
    assert capsys.readouterr().out.count(" new") == 1


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["hydra.sweep.dir=x"], "hydra.sweep.dir: only sweeps read this; add -m"),
        (["hydra.launcher.jobs=2"], "hydra.launcher.jobs: only sweeps read this; add -m"),
        (["hydra/launcher=ray"], "hydra/launcher: only sweeps read this; add -m"),
        (["-m", "seed=1,2", "hydra.run.dir=x"], "hydra.run.dir: a sweep does not read this; use hydra.sweep.dir"),
        (["-m", "seed=1,2", "hydra.mode=RUN"], "hydra.mode: -m asks for a sweep; leave one of them out"),
        (["-m", "seed=1,2", "hydra.sweep.subdir=x"], "hydra.sweep.subdir: qframe does not read this key"),
        (["-m", "seed=1,2", "hydra.job.chdir=true"], "hydra.job.chdir: qframe does not read this key"),
        (["-m", "seed=1,2", "hydra.verbose=true"], "hydra.verbose: qframe does not read this key"),
        (["hydra.job.name=x"], "hydra.job.name: qframe does not read this key"),
    ],
)
def test_typed_keys_that_would_be_ignored_are_refused(words, message, capsys):
    assert main(["train", *words]) == 2
    assert f"qframe: {message}" in capsys.readouterr().err
    assert [path.name for path in Path().iterdir()] == ["own"]
