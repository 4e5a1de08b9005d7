"""The shape of the code: which package may import which, where a config group's classes live, where tests stand."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "qframe"
FILES = sorted(PACKAGE.rglob("*.py"))
LAYERS = (
    "errors", "keys", "formatting", "functional", "machine", "actions", "envs", "replay", "heads", "networks",
    "exploration", "modules", "estimators", "optimizer", "objectives", "compiled", "runs", "checkpoints", "loggers",
    "training", "export", "config", "sweeps", "cli",
)  # fmt: skip
"""From the ground up: a package imports only those that stand before it."""

PACKAGE_OF = {
    "env": "envs", "action_space": "actions", "network": "networks", "trunk": "networks", "memory": "networks",
    "head": "heads", "estimator": "estimators", "loss": "objectives", "target": "objectives", "replay": "replay",
    "priorities": "replay", "exploration": "exploration", "optimizer": "optimizer", "checkpoint": "checkpoints",
    "logger": "loggers", "runner": "training", "collector": "training", "learner": "training",
    "evaluation": "training", "reward": "training",
}  # fmt: skip
"""Where the classes of a group in ``conf/`` live."""

PRESETS = ("experiment", "sweep", "hydra")
"""Groups that choose among the others' options, or among Hydra's own parts."""

WITHOUT_TORCH = ("errors", "runs")
OPTIONAL = ("ale_py", "imageio", "av", "envpool")  # of extras
BORDER_ONLY = ("hydra", "omegaconf")
BORDER = ("config", "sweeps", "cli")
SMELL = 550
"""Lines past which a file probably holds two ideas."""


def name(path):
    return str(path.relative_to(PACKAGE))


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
    return path.relative_to(PACKAGE).with_suffix("").parts[0]


@pytest.mark.parametrize("path", FILES, ids=name)
def test_a_file_imports_only_from_the_layers_below_its_own(path):
    if path.parent == PACKAGE and layer(path) not in LAYERS:
        return
    allowed = LAYERS[: LAYERS.index(layer(path)) + 1]
    for module, is_inside in imports(path):
        top = module.split(".")[0]
        if top == "qframe" and module != "qframe":
            assert module.split(".")[1] in allowed, f"{layer(path)} may not import {module}"
        if layer(path) in WITHOUT_TORCH:
            assert top != "torch", f"{layer(path)} is read without torch"
        if layer(path) == "functional":
            assert top in ("torch", "typing", "collections", "qframe"), module
        if layer(path) not in BORDER:
            assert top not in BORDER_ONLY, f"only {', '.join(BORDER)} know {module}"
            assert not is_inside or top in OPTIONAL, f"{module} is imported inside a function"


def test_every_package_has_a_layer():
    packages = {path.name for path in PACKAGE.iterdir() if (path / "__init__.py").is_file()}
    assert packages <= set(LAYERS)


@pytest.mark.parametrize("path", FILES, ids=name)
def test_a_file_holds_one_idea(path):
    assert len(path.read_text().splitlines()) <= SMELL


def groups() -> list[Path]:
    return sorted(path for path in (ROOT / "conf").iterdir() if path.is_dir() and path.name not in PRESETS)


@pytest.mark.parametrize("group", groups(), ids=lambda path: path.name)
def test_the_classes_of_a_config_group_live_in_its_package(group):
    package = PACKAGE_OF[group.name]
    for path in group.rglob("*.yaml"):
        for target in re.findall(r"^_target_: (qframe\.\S+)", path.read_text(), re.MULTILINE):
            assert target.startswith(f"qframe.{package}."), path


def test_tests_stand_where_what_they_test_stands():
    folders = {path.name for path in (ROOT / "tests").iterdir() if any(path.glob("test_*.py"))}
    assert folders - {"conf", "oracles", "resume"} <= set(LAYERS)


def test_the_loss_asks_no_head_what_it_is():
    for path in (PACKAGE / "objectives").glob("*.py"):
        assert "isinstance" not in path.read_text()
        assert "head ==" not in path.read_text()
