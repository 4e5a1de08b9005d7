"""The shape of the code: which layer may import which, and how long a file may be."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "qframe"
FILES = sorted(PACKAGE.rglob("*.py"))
PARTS = ("functional", "data", "modules", "envs")
SHARED = ("qframe.data.specs", "qframe.data.keys")
ALLOWED = {
    "functional": ("qframe.functional",),
    "data": ("qframe.functional", "qframe.data"),
    "modules": ("qframe.functional", "qframe.modules", *SHARED),
    "envs": ("qframe.functional", "qframe.envs", *SHARED),
    "objectives": tuple(f"qframe.{part}" for part in (*PARTS, "objectives")),
    "records": ("qframe.records",),
    "runner": tuple(f"qframe.{part}" for part in (*PARTS, "objectives", "records", "runner")),
    "config": ("qframe",),
    "cli": ("qframe",),
}
OPTIONAL = ("ale_py", "imageio", "av", "envpool")  # of extras
BORDER_ONLY = ("hydra", "omegaconf")


def imports(path: Path) -> list[tuple[str, bool]]:
    """Every imported module, and whether the import stands inside a function."""
    tree = ast.parse(path.read_text())
    inside = {id(n) for f in ast.walk(tree) if isinstance(f, ast.FunctionDef) for n in ast.walk(f)}
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [(alias.name, id(node) in inside) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            found.append((node.module or "", id(node) in inside))
    return found


def layer(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0]


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_a_file_imports_only_what_its_layer_may(path):
    if path.parent == PACKAGE:
        return
    for name, is_inside in imports(path):
        if name.startswith("qframe"):
            assert name.startswith(ALLOWED[layer(path)]), f"{layer(path)} may not import {name}"
        if layer(path) == "records":
            assert name.split(".")[0] != "torch", "records are read without torch"
        if layer(path) == "functional":
            assert name.split(".")[0] in ("torch", "typing", "collections", "qframe"), name
        if layer(path) not in ("config", "cli"):
            assert name.split(".")[0] not in BORDER_ONLY, f"only config and cli know {name}"
            assert not is_inside or name.split(".")[0] in OPTIONAL, f"{name} is imported inside a function"


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_no_file_passes_300_lines(path):
    assert len(path.read_text().splitlines()) <= 300


def test_the_loss_asks_no_head_what_it_is():
    for path in (PACKAGE / "objectives").glob("*.py"):
        assert "isinstance" not in path.read_text()
        assert "head ==" not in path.read_text()
