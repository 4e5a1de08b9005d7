"""What makes an oracle independent: it knows nothing of the code that it judges."""

import ast
from pathlib import Path

import pytest

ORACLES = [path for path in Path(__file__).parent.glob("*.py") if not path.name.startswith("test_")]
ALLOWED = {"numpy", "math", "itertools", "dataclasses"}


@pytest.mark.parametrize("path", ORACLES, ids=lambda path: path.name)
def test_an_oracle_imports_numpy_only(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            assert {alias.name for alias in node.names} <= ALLOWED
        elif isinstance(node, ast.ImportFrom):
            assert node.module in ALLOWED | {"tests.oracles"}
