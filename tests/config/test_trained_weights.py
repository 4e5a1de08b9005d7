"""Starting from another run's weights: which are taken, shapes that differ, and resuming without that run."""

import json
import re
import shutil
from pathlib import Path

import pytest
import torch

from qframe.checkpoints.load import load_checkpoint
from qframe.cli.main import main
from qframe.config import build
from qframe.config.compose import compose
from qframe.config.schema import PROVIDED
from qframe.errors import ConfigError

SMALL = [
    "trunk.num_cells=[16]", "total_frames=240", "runner.learning_starts=80", "evaluation.every=120",
    "evaluation.episodes=2", "evaluation.final_episodes=2", "evaluation.num_envs=2", "replay.capacity=500",
    "evaluation.candidates=1",
]  # fmt: skip


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    folder = tmp_path_factory.mktemp("source")
    assert main(["train", *SMALL, "network.normalize_observation=true", f"hydra.run.dir={folder}"]) == 0
    return folder


def assembly(source, *words):
    normal = [] if any("normalize" in word for word in words) else ["network.normalize_observation=true"]
    config = compose([*SMALL, *normal, f"init.from={source}", *words], provided=PROVIDED)
    return build.Assembly(config).checked()


def saved(source, *, last):
    state = load_checkpoint(source / "checkpoints")
    if last:
        loss = state["learner"]["loss"]
        return {name.removeprefix("value_network."): x for name, x in loss.items() if name.startswith("value_network.")}
    return state["best"]["candidates"][0]["network"]


@pytest.mark.parametrize("network", ["best", "last"])
def test_all_weights_and_statistics_are_those_of_the_run_in_both_networks(source, network):
    made = assembly(source, f"init.network={network}", "seed=5")
    own = made.parts.loss.value_network.state_dict()
    expected = saved(source, last=network == "last")
    assert own.keys() == expected.keys()
    assert own["trunk.norms.0.count"] > 100
    for network in (own, made.parts.loss.target_value_network.state_dict()):
        assert all(torch.equal(network[name], expected[name]) for name in expected)


def test_the_trunk_alone_fits_another_head_and_other_actions(source):
    words = ["init.part=trunk", "head=quantile", "network=shared_trunk"]
    fresh = build.Assembly(compose([*SMALL, "network.normalize_observation=true", *words[1:]], provided=PROVIDED))
    own = assembly(source, *words).parts.loss.value_network.state_dict()
    expected = saved(source, last=False)
    for name, entry in fresh.parts.loss.value_network.state_dict().items():
        assert torch.equal(own[name], expected[name] if name.startswith("trunk.") else entry)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["head=quantile"], "head.layer.weight is [2, 16] there and [64, 16] here"),
        (["head=quantile"], "; take the trunk alone by init.part=trunk"),
        (["env=acrobot"], "trunk.trunk.0.weight is [16, 4] there and [16, 6] here"),
        (["env=acrobot", "init.part=trunk"], "trunk.norms.0.mean is [4] there and [6] here"),
        (["env=acrobot", "init.part=trunk"], "; choose the trunk and the observations of that run"),
        (["network.normalize_observation=false"], "; set network.normalize_observation=true, as there"),
        (["init.part=head"], "expected part to be one of all, trunk, got 'head'  [command line]"),
        (["init.network=first"], "expected network to be one of best, last, got 'first'"),
        (["init.form=x"], "unknown key 'form'; nearest is 'init.from'"),
        (["init.from=null", "init.part=trunk"], "part and network have no effect without a run; set init.from"),
        (["init.from=nowhere"], "nowhere' does not exist; name the folder of a run"),
    ],
)
def test_weights_that_do_not_fit_are_named_before_the_run(source, words, message):
    with pytest.raises(ConfigError, match=re.escape(message)):
        assembly(source, *words)


def test_the_config_has_the_whole_path_and_resuming_needs_no_source(source, tmp_path, monkeypatch, capsys):
    copy = tmp_path / "here" / "copy"
    shutil.copytree(source, copy)
    monkeypatch.chdir(tmp_path / "here")
    words = ["network.normalize_observation=true", "init.from=copy", "hydra.run.dir=run"]
    assert main(["train", *SMALL, *words]) == 0
    assert "init: network from copy (best network, after 1" in capsys.readouterr().out
    config = json.loads(json.dumps(build.RunFolder(Path("run")).config))
    assert config["init"] == {"from": str(copy), "part": "all", "network": "best"}
    monkeypatch.chdir(tmp_path)
    shutil.rmtree(copy)
    assert main(["resume", "here/run", "total_frames=320"]) == 0, capsys.readouterr().err
    assert main(["eval", "here/run", "--episodes", "1"]) == 0
    assert main(["resume", "here/run", "total_frames=400", "init.part=trunk"]) == 2
    assert "cannot change while a run resumes, because init is part of what was trained" in capsys.readouterr().err


def test_a_run_of_an_earlier_version_has_new_weights(source, tmp_path, capsys):
    shutil.copytree(source, tmp_path / "old")
    config = tmp_path / "old" / "config.yaml"
    text = config.read_text()
    config.write_text(text.replace("init:\n  from: null\n  part: all\n  network: best\n", ""))
    assert config.read_text() != text
    assert main(["eval", str(tmp_path / "old"), "--episodes", "1"]) == 0, capsys.readouterr().err


def test_a_support_that_comes_with_the_weights_stays_until_returns_leave_it(source, tmp_path, capsys):
    words = ["head=categorical", "head.num_atoms=11", *SMALL]
    assert main(["train", *words, f"hydra.run.dir={tmp_path / 'first'}"]) == 0
    runner = build.build(compose([*words, f"init.from={tmp_path / 'first'}"], provided=PROVIDED), tmp_path / "second")
    runner.collector.close()
    support = load_checkpoint(tmp_path / "first" / "checkpoints")["best"]["candidates"][0]["network"]["head.support"]
    assert runner.learner.support.is_set
    assert runner.learner.support.bounds == pytest.approx(tuple(support[[0, -1]].tolist()))
