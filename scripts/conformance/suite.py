"""Run the reference library's own tests of Q-learning against qframe, with nothing changed but their imports.

``make conformance REFERENCE_TESTS=path/to/rl/test`` runs it. A name that qframe offers is imported from qframe, and any
other from the reference, such as helpers of its tests. The exit status is 1 if a test fails that no deviation covers.
"""

import ast
import re
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

import qframe.actions
import qframe.modules
import qframe.objectives

FILES = (
    "modules/_modules_common.py", "modules/test_qvalue_actor.py",
    "objectives/_objectives_common.py", "objectives/test_dqn.py",
)  # fmt: skip
OTHERS = ("QMixer",)
"""Tests of algorithms that qframe does not have."""
DEVIATIONS = {
    r"distributional_dqn\[ValueEstimators.(TD1|TDLambda)": "λ-returns for distributions are not refused",
    r"dqn(_tensordict_run)?\[ValueEstimators.(TD1|TDLambda)": "TD1 and TD(λ) on a flat batch are refused",
    r"distributional_dqn\[.*mult_one_hot": "actions that are not of the action space are refused",
    r"tensordict_keys": "action_value of set_keys is the key that the network writes; estimators have no keys",
    r"prioritized_weights": "weights are mean(w·l), and there is a target network only with delay_value=True",
    r"hook_conflicting_spec": "a private function is called with specs that are not its own",
    r"test_nested_keys": "the spec of an environment of the reference is none of qframe's",
    r"strict_shape_auto": "a spec's shape has no batch dimensions",
    r"strict_shape_none_warns": "strict_shape=None is True, as in 0.14.1",
    r"test_value_based_policy\[": "one-hot actions of tied values have a single 1",
    r"construct\[mult.one.hot-None": "var_nums are required",
}
"""Why a test fails on purpose, by a pattern of its name; docs/guides/from-torchrl.md has the reasons."""
OFFERED = {
    name: package.__name__
    for package in (qframe.actions, qframe.modules, qframe.objectives)
    for name in package.__all__
}


class Outcomes:
    """A pytest plugin that keeps the outcome of every test, and the message of one that fails."""

    def __init__(self) -> None:
        self.found: dict[str, str] = {}

    def pytest_runtest_logreport(self, report: Any) -> None:
        """Keep a failure of any phase, else the outcome of the call."""
        if report.failed:
            self.found[report.nodeid] = str(getattr(report.longrepr, "reprcrash", report.longrepr))
        elif report.when == "call":
            self.found.setdefault(report.nodeid, "")


def with_own_imports(source: str) -> str:
    """A test file that imports from qframe whatever qframe offers."""
    lines = source.splitlines()
    for node in reversed(ast.parse(source).body):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("torchrl"):
            imports = []
            for name in node.names:
                package = OFFERED.get(name.name, node.module)
                imports.append(f"from {package} import {name.name} as {name.asname or name.name}")
            lines[node.lineno - 1 : node.end_lineno] = imports
    return "\n".join(lines) + "\n"


def main() -> None:
    """Run the tests, and print how many pass, fail on purpose, and fail."""
    folder = Path(sys.argv[1])
    outcomes = Outcomes()
    raises = pytest.raises
    pytest.raises = lambda *args, match=None, **kwargs: raises(*args, **kwargs)  # texts of errors differ
    with tempfile.TemporaryDirectory() as copied:
        for file in FILES:
            target = Path(copied, Path(file).name)
            target.write_text(with_own_imports((folder / file).read_text()))
        sys.path.insert(0, copied)
        options = ["-q", "--no-header", "--tb=no", "--no-summary", "-p", "no:cacheprovider", "-W", "ignore"]
        chosen = ["-k", " and ".join(f"not {name}" for name in OTHERS)]
        pytest.main([copied, f"--rootdir={copied}", *options, *chosen, *sys.argv[2:]], plugins=[outcomes])
    on_purpose: Counter[str] = Counter()
    failed = {}
    for test, message in outcomes.found.items():
        reason = next((why for pattern, why in DEVIATIONS.items() if re.search(pattern, test)), None)
        if message and reason:
            on_purpose[reason] += 1
        elif message:
            failed[test] = message
    passed = sum(not message for message in outcomes.found.values())
    print(f"{passed} of {len(outcomes.found)} tests of the reference pass, {on_purpose.total()} fail on purpose:")
    for reason, count in on_purpose.items():
        print(f"  {count:4} {reason}")
    for test, message in failed.items():
        print(f"  FAILED {test}: {message}")
    sys.exit(bool(failed) or not passed)


if __name__ == "__main__":
    main()
