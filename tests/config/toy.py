"""A small configuration folder and a builder to go with it, for the tests of ``config`` and ``cli``."""

import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

from qframe.cli import check as check_command
from qframe.cli import train
from qframe.config import advice, build, description, hydra_app, targets
from qframe.config.schema import GROUPS
from qframe.errors import Fault, Stopped

PROVIDED = {"head": frozenset({"num_actions"}), "network": frozenset({"features"})}

FILES = {
    "train.yaml": "defaults:\n"
    + "".join(f"  - {group}: default\n" for group in GROUPS)
    + "  - hydra: default\n  - _self_\n  - experiment: null\n  - sweep: null\n"
    + "name: toy\nseed: 1\ndevice: cpu\ngamma: 0.99\ntotal_frames: 50_000\n"
    + "compile: false\nautocast: false\ndeterministic: false\nprofile: false\n",
    **{f"{group}/default.yaml": f"# The {group} of the tests\n_target_: toy_parts.Part\n" for group in GROUPS},
    "env/default.yaml": "_target_: toy_parts.Env\nid: Toy-v0\nnum_envs: 2\nkwargs: {}\n",
    "env/nameless.yaml": "# Set env.id\n_target_: toy_parts.Env\nid: ???\n",
    "network/default.yaml": "_target_: toy_parts.Net\ntrunk:\n  _target_: toy_parts.Trunk\n  sizes: [8, 8]\n",
    "network/deep.yaml": "_target_: toy_parts.Net\ntrunk:\n  _target_: toy_parts.DeepTrunk\n  depth: 3\n",
    "head/default.yaml": "_target_: toy_parts.Head\nkind: a\n",
    "head/other.yaml": "_target_: toy_parts.Head\nkind: b\n",
    "optimizer/default.yaml": "_target_: toy_parts.Optimizer\nalgorithm:\n  _target_: torch.optim.Adam\n  eps: 1e-8\n",
    "experiment/small.yaml": "# @package _global_\n# A small run\ndefaults:\n  - override /head: other\n"
    "name: small\ntotal_frames: 1k\n",
    "sweep/seeds.yaml": "# @package _global_\nhydra:\n  mode: MULTIRUN\n  sweeper:\n    params:\n      seed: 1,2\n",
}


class ToyRunner:
    """Trains in no time: the return is ten times the seed; seed 13 breaks, seed 15 meets a signal."""

    def __init__(self, config, folder: Path) -> None:
        self.seed, self.folder = config["seed"], folder

    def run(self) -> dict:
        if self.seed == 13:
            raise RuntimeError("thirteen")
        if self.seed == 15:
            raise Stopped(15, "saved; go on with qframe resume")
        (self.folder / "config.yaml").write_text("seed: 1\n")
        return {"status": "finished", "eval_return_mean": 10.0 * self.seed}


def check(config, found=()) -> list[Fault]:
    if found:
        return list(found)
    if config["head"]["kind"] == "b" and config["env"]["num_envs"] == 3:
        return [Fault("head.kind", "expected a with three environments, got 'b'")]
    return []


class Assembly:
    parts = None

    def __init__(self, config, found=(), *, builds=True) -> None:
        self.config, self.faults = config, list(found)
        if builds:
            self.build_parts()

    def build_parts(self):
        self.faults = check(self.config, self.faults)

    def checked(self):
        if self.faults:
            raise build.ConfigError(self.faults)
        return self


def build_runner(config, run_dir: Path, *, started=None) -> ToyRunner:
    assembly = (config if isinstance(config, Assembly) else Assembly(config)).checked()
    if assembly.config["seed"] == 12:
        raise ValueError("expected another seed, got 12")
    return ToyRunner(assembly.config, run_dir)


def enter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """Make the toy world in a folder, which becomes the current one."""
    conf = tmp_path / "conf"
    for name, text in FILES.items():
        write(conf / name, text)
    real = hydra_app.conf_dir()
    shutil.copytree(real / "hydra", conf / "hydra")
    monkeypatch.setattr(hydra_app, "conf_dir", lambda: conf)
    monkeypatch.setattr(targets, "_trusted", ["toy_parts"])
    for module in (build, train, check_command):
        monkeypatch.setattr(module, "PROVIDED", PROVIDED)
    monkeypatch.setattr(build, "check", check)
    monkeypatch.setattr(build, "Assembly", Assembly)
    monkeypatch.setattr(build, "build", build_runner)
    monkeypatch.setattr(advice, "config_warnings", lambda parts, config: [])
    monkeypatch.setattr(description, "describe", lambda made: {"environment": made.config["env"]["id"], "head": "Head"})
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    monkeypatch.chdir(tmp_path)
    return SimpleNamespace(folder=tmp_path, conf=conf)


def write(file: Path, text: str) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    return file
