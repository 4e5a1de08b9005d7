"""One run as its folder tells it: config, outcome, how far it is, and whether it is still going."""

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

from qframe.runs.process import is_alive

QUIET = 15 * 60
"""Seconds without a change after which a run on another host counts as crashed."""
FILES = ("config.yaml", "manifest.json", "metrics.jsonl", "summary.json")
_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # ten times as fast, where PyYAML has it


@dataclass(frozen=True)
class Run:
    """A run's folder; what is missing or damaged reads as empty.

    Args:
        path: the folder.
    """

    path: Path

    @cached_property
    def config(self) -> dict[str, Any]:
        """The resolved config."""
        try:
            content = yaml.load((self.path / "config.yaml").read_text(encoding="utf-8"), Loader=_Loader)
        except (OSError, ValueError, yaml.YAMLError):
            return {}
        return content if isinstance(content, dict) else {}

    @cached_property
    def summary(self) -> dict[str, Any]:
        """The outcome."""
        return read_json(self.path / "summary.json")

    @cached_property
    def manifest(self) -> dict[str, Any]:
        """Versions, machine and process."""
        return read_json(self.path / "manifest.json")

    @cached_property
    def metrics(self) -> list[dict[str, Any]]:
        """What was logged, in order; a line that was cut off is left out."""
        try:
            lines = (self.path / "metrics.jsonl").read_text(encoding="utf-8", errors="replace").splitlines()
        except OSError:
            return []
        logged = [_parsed(line) for line in lines]
        return [log for log in logged if isinstance(log.get("frames"), int)]

    @cached_property
    def changed(self) -> float:
        """When something in the folder was last written, in seconds since the epoch."""
        files = [self.path / name for name in FILES]
        return max((file.stat().st_mtime for file in files if file.is_file()), default=self.path.stat().st_mtime)

    @cached_property
    def status(self) -> str:
        """``finished``, ``stopped``, ``failed``, ``refused`` and the like as the run says itself; else what its
        process says: ``running`` while it is there, ``crashed`` when it is gone. Never finished by guess."""
        told = self.summary.get("status")
        if isinstance(told, str) and told != "running":
            return told
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
        told = self.summary.get("frames")
        if isinstance(told, int):
            return told
        return self.metrics[-1]["frames"] if self.metrics else 0

    @property
    def score(self) -> float | None:
        """The final greedy return of a finished run."""
        score = self.summary.get("eval_return_mean") if self.is_finished else None
        return float(score) if isinstance(score, int | float) else None

    @property
    def evaluations(self) -> list[tuple[int, float, float | None]]:
        """Frames, mean greedy return, and seconds of training where they were logged, of every evaluation."""
        key = "eval/episode_return"
        return [(log["frames"], float(log[key]), log.get("time/wall_seconds")) for log in self.metrics if key in log]

    @cached_property
    def overrides(self) -> list[str]:
        """What was typed for a job of a sweep; empty for a run alone."""
        told = self.summary.get("overrides") or planned_jobs(self.path.parent).get(self.path.name)
        return [str(override) for override in told] if isinstance(told, list) else []

    @property
    def is_job(self) -> bool:
        """Whether it is a job of a sweep: a numbered folder."""
        return self.path.name.isdigit()


def flat(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested keys joined by dots, as the command line writes them.

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


def planned_jobs(sweep: Path) -> dict[str, Any]:
    """The overrides of every job of a sweep by its number, those included that have not started; else empty."""
    return read_json(sweep / "jobs.json")


def find_runs(folder: Path) -> list[Run]:
    """The run at ``folder``, or all runs under it, sorted by path with jobs in the order of their numbers."""
    if is_run(folder):
        return [Run(folder)]
    found: list[Run] = []
    inside = [path for path in folder.iterdir() if path.is_dir() and not path.is_symlink()]
    for path in sorted(inside, key=lambda path: (len(path.name) if path.name.isdigit() else 0, path.name)):
        found += find_runs(path)
    return found


def is_run(folder: Path) -> bool:
    """Whether a folder is that of a run: it has a config, or says what became of it."""
    return (folder / "config.yaml").is_file() or "status" in read_json(folder / "summary.json")


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file, or {} where there is none or a damaged one."""
    try:
        return _parsed(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}


def environment_name(env: Mapping[str, Any]) -> str | None:
    """What people call the environment of a config: its id, or the collection and the game.

    >>> environment_name({"_target_": "qframe.envs.MinAtarEnvs", "game": "breakout"})
    'MinAtar breakout'
    """
    if env.get("id") is not None:
        return str(env["id"])
    collection = str(env.get("_target_", "")).rpartition(".")[2].removesuffix("Envs")
    return " ".join(filter(None, (collection, env.get("game")))) or None


def _parsed(text: str) -> dict[str, Any]:
    try:
        content = json.loads(text)
    except ValueError:
        return {}
    return content if isinstance(content, dict) else {}
