"""The folder of a run: the one place that knows its files, written by training and read by every command."""

import json
import os
import platform
import re
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import PackageNotFoundError, version
from itertools import count
from pathlib import Path
from typing import Any

import yaml

import qframe
from qframe.errors import UserError
from qframe.runs.checkpoint_names import checkpoints_in
from qframe.runs.lock import FolderLock
from qframe.runs.process import is_alive, this_process

UNFINISHED_CONFIG = ".config.tmp"
"""The file that becomes ``config.yaml`` once it is whole."""
QUIET = 15 * 60
"""Seconds without a change after which a run on another host counts as crashed."""
_PACKAGES = ("torch", "tensordict", "hydra-core", "omegaconf", "gymnasium", "numpy", "tensorboard")
_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # ten times as fast, if PyYAML was built with it


@dataclass(frozen=True)
class RunFolder:
    """A run's folder. Files are read once, when first asked for; a missing or damaged file reads as empty.

    Args:
        path: the folder; created when something is written.
    """

    path: Path

    @property
    def config_file(self) -> Path:
        """``config.yaml``, the resolved config."""
        return self.path / "config.yaml"

    @property
    def metrics_file(self) -> Path:
        """``metrics.jsonl``, a JSON object per log."""
        return self.path / "metrics.jsonl"

    @property
    def summary_file(self) -> Path:
        """``summary.json``, the outcome."""
        return self.path / "summary.json"

    @property
    def manifest_file(self) -> Path:
        """``manifest.json``: versions, machine, command and process."""
        return self.path / "manifest.json"

    @property
    def checkpoints(self) -> Path:
        """The folder of checkpoints."""
        return self.path / "checkpoints"

    @property
    def videos(self) -> Path:
        """The folder of videos."""
        return self.path / "videos"

    def read_only(self) -> "ReadOnlyFolder":
        """This folder for a process that trains here beside the one that holds the lock, which alone writes."""
        return ReadOnlyFolder(self.path)

    @cached_property
    def lock(self) -> FolderLock:
        """Held by the process that trains here."""
        return FolderLock(self.path / ".lock", f"the run in {self.path} is being trained")

    @property
    def has_checkpoint(self) -> bool:
        """Whether there is a checkpoint, whole or damaged."""
        return bool(checkpoints_in(self.checkpoints))

    @cached_property
    def config(self) -> dict[str, Any]:
        """The resolved config."""
        try:
            content = yaml.load(self.config_file.read_text(encoding="utf-8"), Loader=_Loader)
        except (OSError, ValueError, yaml.YAMLError):
            return {}
        return content if isinstance(content, dict) else {}

    @cached_property
    def summary(self) -> dict[str, Any]:
        """The outcome."""
        return read_json(self.summary_file)

    @cached_property
    def manifest(self) -> dict[str, Any]:
        """Versions, machine, command, git revision and process."""
        return read_json(self.manifest_file)

    @cached_property
    def metrics(self) -> list[dict[str, Any]]:
        """The logs in order, without a line that was cut off."""
        return self._logs()

    @cached_property
    def changed(self) -> float:
        """When one of the files was last written, in seconds since the epoch."""
        files = (self.config_file, self.manifest_file, self.metrics_file, self.summary_file)
        return max((file.stat().st_mtime for file in files if file.is_file()), default=self.path.stat().st_mtime)

    @cached_property
    def status(self) -> str:
        """``finished``, ``stopped``, ``failed``, ``refused`` or ``pruned`` if the summary says so; otherwise
        ``running`` if the run's process is alive and ``crashed`` if it is not."""
        status = self.summary.get("status")
        if isinstance(status, str) and status != "running":
            return status
        process = self.manifest.get("process")
        alive = is_alive(process) if isinstance(process, Mapping) else None
        if alive is None:
            alive = time.time() - self.changed < QUIET
        return "running" if alive else "crashed"

    @property
    def is_finished(self) -> bool:
        """Whether it trained to its end and was evaluated there."""
        return self.status == "finished"

    @property
    def frames(self) -> int:
        """Frames so far."""
        frames = self.summary.get("frames")
        if isinstance(frames, int):
            return frames
        return self.metrics[-1]["frames"] if self.metrics else 0

    @property
    def score(self) -> float | None:
        """The final greedy return of a finished run."""
        score = self.summary.get("eval_return_mean") if self.is_finished else None
        return float(score) if isinstance(score, int | float) else None

    @cached_property
    def evaluations(self) -> list[tuple[int, float, float | None]]:
        """The periodic evaluations: frames, mean greedy return, and seconds of training if they were logged."""
        key = "eval/episode_return"
        return [(log["frames"], float(log[key]), log.get("time/wall_seconds")) for log in self._logs(key) if key in log]

    @cached_property
    def overrides(self) -> list[str]:
        """The overrides of a job of a sweep; empty for a single run."""
        listed = self.summary.get("overrides") or planned_jobs(self.path.parent).get(str(job_number(self.path.name)))
        return [str(override) for override in listed] if isinstance(listed, list) else []

    @property
    def is_job(self) -> bool:
        """Whether it is a job of a sweep."""
        is_numbered = job_number(self.path.name) is not None
        return self.path.name.isdigit() or (is_numbered and (self.path.parent / "jobs.json").is_file())

    def _logs(self, containing: str = "") -> list[dict[str, Any]]:
        """The logs whose line contains this text; others are not parsed: a sweep reads all its jobs every second."""
        try:
            lines = self.metrics_file.read_text(encoding="utf-8", errors="replace").splitlines()
        except OSError:
            return []
        logs = [_parsed(line) for line in lines if containing in line]
        return [log for log in logs if isinstance(log.get("frames"), int)]

    def write_manifest(self, picked: dict[str, Any], *, resumed_at: int | None = None) -> None:
        """Record versions, machine, command, git revision and process.

        Args:
            picked: the values that ``auto`` picked.
            resumed_at: the frame at which a run resumes; the earlier manifest is kept under ``earlier``.
        """
        manifest = {
            "command": ["qframe" if sys.argv[0].endswith("__main__.py") else Path(sys.argv[0]).name, *sys.argv[1:]],
            "picked": picked,
            "versions": {"python": platform.python_version()} | _versions(),
            "machine": {"platform": platform.platform(), "processor_count": os.cpu_count()},
            "git": _git_revision(),
            "process": this_process(),
        }
        if resumed_at is not None:
            before = read_json(self.manifest_file)
            earlier = before.pop("earlier", [])
            manifest |= {"resumed_at": resumed_at, "earlier": [*earlier, before]}
        write_json(self.manifest_file, manifest)
        self.__dict__.pop("manifest", None)

    def write_summary(self, summary: dict[str, Any]) -> None:
        """Write the outcome; its ``status`` says whether the run is finished."""
        write_json(self.summary_file, summary)
        self.__dict__.pop("summary", None)

    def update_summary(self, changes: dict[str, Any]) -> dict[str, Any]:
        """Add to the outcome as it is on disk now; returns the whole of it."""
        summary = read_json(self.summary_file) | changes
        self.write_summary(summary)
        return summary


class ReadOnlyFolder(RunFolder):
    """A run's folder that another process writes and locks."""

    @cached_property
    def lock(self) -> FolderLock:
        """A lock of nothing."""
        return FolderLock(None, "")

    def write_summary(self, summary: dict[str, Any]) -> None:
        """Leave it to the other process."""


def new_folder(path: Path, *, is_stamped: bool) -> Path:
    """Create the folder of a new run.

    Args:
        path: of the folder.
        is_stamped: its name is the time; if another run has it, a number is added.

    Raises:
        UserError: it cannot be created.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        for number in count(1):
            made = path if number == 1 else path.with_name(f"{path.name}-{number}")
            try:
                made.mkdir(exist_ok=not is_stamped)
                return made
            except FileExistsError:
                if not is_stamped:
                    raise
    except OSError as error:
        reason = error.strerror or str(error)
        raise UserError(f"cannot create the folder '{path}': {reason}; choose another") from error
    raise AssertionError("unreachable")


def find_runs(folder: Path) -> list[RunFolder]:
    """The run at ``folder``, or all runs under it, sorted by path with jobs in the order of their numbers."""
    if is_run(folder):
        return [RunFolder(folder)]
    found: list[RunFolder] = []
    inside = [path for path in folder.iterdir() if path.is_dir() and not path.is_symlink()]
    for path in sorted(inside, key=lambda path: (job_number(path.name) or 0, path.name)):
        found += find_runs(path)
    return found


def is_run(folder: Path) -> bool:
    """Whether a folder is a run's: it has a config, or a summary with a status."""
    run = RunFolder(folder)
    return run.config_file.is_file() or "status" in run.summary


def is_unused(path: Path) -> bool:
    """Whether a run may start in this folder: it is empty or missing, or its run was killed before it had a config."""
    if not path.is_dir():
        return not path.exists()
    return {file.name for file in path.iterdir()} <= {".lock", UNFINISHED_CONFIG}


def job_number(name: str) -> int | None:
    """The number of a sweep's job by the name of its folder, such as ``3-head=quantile,seed=2``.

    >>> job_number("3-head=quantile,seed=2"), job_number("12"), job_number("submitit")
    (3, 12, None)
    """
    match = re.match(r"(\d+)(-|$)", name)
    return int(match[1]) if match else None


def planned_jobs(sweep: Path) -> dict[str, Any]:
    """The overrides of every job of a sweep by its number, started or not; {} if the folder is no sweep's."""
    return read_json(sweep / "jobs.json")


def environment_name(env: Mapping[str, Any]) -> str | None:
    """The common name of a config's environment: its id, or the collection and the game.

    >>> environment_name({"_target_": "qframe.envs.MinAtarEnvs", "game": "breakout"})
    'MinAtar breakout'
    """
    if env.get("id") is not None:
        return str(env["id"])
    collection = str(env.get("_target_", "")).rpartition(".")[2].removesuffix("Envs")
    return " ".join(filter(None, (collection, env.get("game")))) or None


def flat(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested keys joined by dots, as on the command line.

    >>> flat({"head": {"num_atoms": 51}, "seed": 1})
    {'head.num_atoms': 51, 'seed': 1}
    """
    result: dict[str, Any] = {}
    for key, value in config.items():
        if isinstance(value, Mapping) and value:
            result |= flat(value, f"{prefix}{key}.")
        else:
            result[f"{prefix}{key}"] = value
    return result


def value_at(config: Mapping[str, Any], key: str) -> Any:
    """The value or node at a key with dots; None if there is none.

    >>> value_at({"head": {"num_atoms": 51}}, "head.num_atoms")
    51
    """
    node: Any = config
    for step in key.split("."):
        node = node.get(step) if isinstance(node, Mapping) else None
    return node


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file; {} if the file is missing or damaged."""
    try:
        return _parsed(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write a JSON file under a temporary name, then rename it: a reader sees the old file or the whole new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(path.name + ".tmp")
    temporary.write_text(json.dumps(content, indent=2, default=str) + "\n")
    temporary.replace(path)


def _parsed(text: str) -> dict[str, Any]:
    try:
        content = json.loads(text)
    except ValueError:
        return {}
    return content if isinstance(content, dict) else {}


def _versions() -> dict[str, str]:
    found = {"qframe": qframe.__version__}
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
        changed = git("status", "--porcelain", "--", ":/", ":(exclude)*results/*.json")  # written by `bench` itself
        return {"revision": git("rev-parse", "HEAD"), "dirty": bool(changed)}
    except (OSError, subprocess.SubprocessError):
        return None


def open_run(path: Path) -> RunFolder:
    """The run folder at ``path``.

    Raises:
        UserError: there is no run, or its folder has links that lead out of it, where resuming would write.
    """
    folder = RunFolder(path)
    if folder.config_file.is_file():
        here = path.resolve()
        for link in (found for found in path.rglob("*") if found.is_symlink()):
            if not link.resolve().is_relative_to(here):
                raise UserError(f"the link '{link}' leads out of the run's folder; remove it")
        return folder
    if not path.exists():
        raise UserError(f"'{path}' does not exist; name the folder of a run")
    inside = sorted(Path(folder) for folder, _, files in os.walk(path) if "config.yaml" in files)
    remedy = f"did you mean {inside[-1]}?" if inside else "qframe train writes its runs to outputs/"
    raise UserError(f"'{path}' is not the folder of a run: it has no config.yaml; {remedy}")
