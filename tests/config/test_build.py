"""One ``qframe train`` composes its config once and builds every part once."""

import inspect
import sys
from collections import Counter

import pytest

from qframe.cli.main import main
from qframe.config import build
from qframe.config.compose import compose, composed
from qframe.config.schema import GROUPS
from qframe.config.targets import resolve

WORDS = ["total_frames=200", "runner.learning_starts=100", "compile=false", "evaluation.final_episodes=1", "trunk=mlp"]
WORDS += ["memory=lstm", "estimator=munchausen"]  # the usual one has no constructor of its own to count


@pytest.fixture
def counted(tmp_path):
    """The calls of some functions in one run, by name; a constructor's only for objects of exactly its class."""
    config = compose(WORDS, provided=build.PROVIDED)
    targets = {group: resolve(config[group]["_target_"]) for group in GROUPS}
    classes = {group: target for group, target in targets.items() if inspect.isclass(target)}
    functions = {group: target for group, target in targets.items() if not inspect.isclass(target)}
    names = {target.__init__.__code__ for target in classes.values()}
    named = {function.__code__: group for group, function in functions.items()}
    named[composed.__code__] = "compose"
    calls = Counter()

    def count(frame, event, argument):
        if event != "call":
            return
        if frame.f_code in named:
            calls[named[frame.f_code]] += 1
        elif frame.f_code in names:
            built = type(frame.f_locals["self"])
            calls.update(group for group, target in classes.items() if target is built)

    sys.setprofile(count)
    try:
        assert main(["train", *WORDS, f"hydra.run.dir={tmp_path / 'run'}"]) == 0
    finally:
        sys.setprofile(None)
    return calls


def test_a_run_composes_its_config_once_and_builds_every_part_once(counted):
    assert counted == dict.fromkeys([*GROUPS, "compose"], 1)
