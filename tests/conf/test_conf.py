"""Every YAML file, by glob: it composes, validates and builds, and says what it is."""

import re
from pathlib import Path

import pytest

from qframe.config import build
from qframe.config.compose import compose

CONF = Path(__file__).parents[2] / "conf"
GROUPED = sorted(path for path in CONF.glob("*/*.yaml") if path.parent.name not in ("hydra", "experiment"))
EXPERIMENTS = sorted((CONF / "experiment").glob("*.yaml"))
JOINT_ENV = ["env=gymnasium", "env.id=qframe-test/Switches-v0"]
NEEDS = {
    "action_space/discretized": ["env=gymnasium", "env.id=Pendulum-v1"],
    "action_space/enumerated": JOINT_ENV,
    "action_space/multi_categorical": JOINT_ENV,
    "action_space/multi_one_hot": JOINT_ENV,
    "replay/frames": ["replay.stack=1"],
    "env/gymnasium": ["env.id=CartPole-v1"],
    "estimator/td1": ["replay=slices"],
    "estimator/retrace": ["replay=slices"],
    "estimator/td_lambda": ["replay=slices"],
    "estimator/pengs_q_lambda": ["replay=slices"],
    "estimator/watkins": ["replay=slices"],
    "learner/parallel": ["learner.force=true"],
    "loss/dqv": ["network=shared_trunk", "network.dueling=false"],
    "exploration/bootstrapped": ["network=ensemble"],
    "target/none": ["loss.delay_value=false"],
    "exploration/noisy": ["network.noisy=true"],
    "trunk/nature": "images of shape (C, H, W), got (4,)",
    "trunk/small_conv": "images of shape (C, H, W), got (4,)",
    "trunk/impala": "images of shape (C, H, W), got (4,)",
}
"""Overrides without which an option does not go with the rest, or why it cannot on CartPole."""


def name(path):
    return f"{path.parent.name}/{path.stem}"


def faults(*overrides):
    return build.check(compose(overrides, provided=build.PROVIDED))


@pytest.mark.parametrize("path", GROUPED, ids=name)
def test_an_option_builds(path):
    needs = NEEDS.get(name(path), [])
    if isinstance(needs, str):
        assert needs in str(faults(f"{path.parent.name}={path.stem}", "replay=slices"))
    else:
        assert faults(f"{path.parent.name}={path.stem}", *needs) == []


@pytest.mark.parametrize("path", EXPERIMENTS, ids=name)
def test_a_preset_builds_and_is_named_after_its_file(path):
    config = compose([f"experiment={path.stem}"], provided=build.PROVIDED)
    assert build.check(config) == []
    assert config.name == path.stem


@pytest.mark.parametrize("path", [*GROUPED, *EXPERIMENTS], ids=name)
def test_a_file_says_what_it_is_in_its_first_comment(path):
    comments = [line for line in path.read_text().splitlines() if not line.startswith("# @package")]
    assert re.match(r"# \S.{10,}", comments[0])


def test_no_preset_repeats_a_size_of_an_environment():
    sizes = re.compile(r"^\s*(observation_shape|num_actions|features|in_features):", re.MULTILINE)
    assert not [path for path in CONF.rglob("*.yaml") if sizes.search(path.read_text())]
