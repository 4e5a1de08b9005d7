"""The folder of a run: what is written where, whole or not at all."""

import json
import os
import platform
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from qframe.runs.checkpoint_names import checkpoints_in
from qframe.runs.lock import RunLock
from qframe.runs.process import this_process
from qframe.runs.run import read_json

_PACKAGES = ("qframe", "torch", "tensordict", "hydra-core", "omegaconf", "gymnasium", "numpy", "tensorboard")


class RunFolder:
    """Names and files of one run.

    Args:
        path: the folder; made when something is written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.config = path / "config.yaml"
        self.manifest = path / "manifest.json"
        self.metrics = path / "metrics.jsonl"
        self.summary = path / "summary.json"
        self.checkpoints = path / "checkpoints"
        self.lock = RunLock(path)
        self.videos = path / "videos"

    @property
    def has_checkpoint(self) -> bool:
        """Whether there is one, whole or damaged."""
        return bool(checkpoints_in(self.checkpoints))

    def write_manifest(self, picked: dict[str, Any], *, resumed_at: int | None = None) -> None:
        """Versions, machine, command, revision and process, and what ``auto`` picked.

        Args:
            picked: by ``auto``.
            resumed_at: the frame where a run goes on; what stood there before is kept under ``earlier``.
        """
        manifest = {
            "command": [Path(sys.argv[0]).name, *sys.argv[1:]],
            "picked": picked,
            "versions": {"python": platform.python_version()} | _versions(),
            "machine": {"platform": platform.platform(), "processor_count": os.cpu_count()},
            "git": _git_revision(),
            "process": this_process(),
        }
        if resumed_at is not None:
            before = read_json(self.manifest)
            earlier = before.pop("earlier", [])
            manifest |= {"resumed_at": resumed_at, "earlier": [*earlier, before]}
        write_json(self.manifest, manifest)

    def write_summary(self, summary: dict[str, Any]) -> None:
        """The outcome; ``status`` says whether the run is finished."""
        write_json(self.summary, summary)


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write a JSON file under a temporary name, then rename it: readers see the old one or the whole new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(path.name + ".tmp")
    temporary.write_text(json.dumps(content, indent=2, default=str) + "\n")
    temporary.replace(path)


def _versions() -> dict[str, str]:
    found = {}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found


def _git_revision() -> dict[str, Any] | None:
    def git(*arguments: str) -> str:
        done = subprocess.run(["git", *arguments], capture_output=True, text=True, check=True, timeout=10)
        return done.stdout.strip()

    try:
        changed = git("status", "--porcelain", "--", ":/", ":(exclude)*results/*.json")  # what `bench` itself wrote
        return {"revision": git("rev-parse", "HEAD"), "dirty": bool(changed)}
    except (OSError, subprocess.SubprocessError):
        return None
