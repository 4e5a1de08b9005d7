"""The runs of a benchmark, a process for every seed; a signal is handed on to all, and each leaves a checkpoint."""

import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import qframe
from qframe.errors import Stopped
from qframe.runs.folder import RunFolder
from qframe.training.signals import StopSignals

POLL = 0.2  # seconds between looks at the processes


@dataclass(frozen=True)
class SeedRun:
    """One seed of a preset.

    Args:
        preset: its name.
        seed: the run's seed.
        folder: of the run.
        options: of the command line: ``--config-dir`` and ``--trust``.
    """

    preset: str
    seed: int
    folder: Path
    options: tuple[str, ...] = ()

    @property
    def command(self) -> str:
        """What a user would type for this run alone."""
        return shlex.join(["qframe", "train", *self._choices, *self.options])

    @property
    def summary(self) -> dict[str, Any]:
        """The run's ``summary.json``; {} where there is none or a damaged one."""
        return RunFolder(self.folder).summary

    @property
    def is_finished(self) -> bool:
        """Whether it trained and evaluated to the end."""
        return self.summary.get("status") == "finished"

    @property
    def log(self) -> Path:
        """What the run prints."""
        return self.folder.with_suffix(".log")

    @property
    def _choices(self) -> list[str]:
        return [f"experiment={self.preset}", f"seed={self.seed}"]

    def start(self) -> subprocess.Popen[bytes]:
        """Train, or go on from the last checkpoint where there is one."""
        if RunFolder(self.folder).has_checkpoint:
            trust = [word for pair in _pairs(self.options) if pair[0] == "--trust" for word in pair]
            words = ["resume", str(self.folder), *trust]
        else:
            shutil.rmtree(self.folder, ignore_errors=True)  # stopped before its first checkpoint: nothing to keep
            words = ["train", *self._choices, f"hydra.run.dir={self.folder}", *self.options]
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as log:  # in a session of its own: an interrupt is handed on once, by us
            return subprocess.Popen(
                [sys.executable, "-m", "qframe", *words],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                env=os.environ | {"PYTHONPATH": os.pathsep.join(import_path())},
            )


def run_all(runs: Sequence[SeedRun], jobs: int, metric: str) -> None:
    """Run what is not finished, ``jobs`` at a time, and tell each result as it comes; one that failed stays unfinished.

    Raises:
        Stopped: by a signal; every run has stopped with a checkpoint.
    """
    for run in runs:
        if run.is_finished:
            _tell(run, metric, "  (finished before)")
    waiting = [run for run in runs if not run.is_finished]
    active: dict[SeedRun, subprocess.Popen[bytes]] = {}
    with StopSignals() as signals:
        try:
            while (waiting or active) and signals.received is None:
                while waiting and len(active) < jobs:
                    run = waiting.pop(0)
                    active[run] = run.start()
                time.sleep(POLL)
                _collect(active, metric)
        finally:
            _stop(active.values(), signals.received or signal.SIGTERM)
    if signals.received is not None:
        message = "stopped, and every run with it; go on by the same command with --resume"
        raise Stopped(signals.received, message)


def _collect(active: dict[SeedRun, subprocess.Popen[bytes]], metric: str) -> None:
    """Take out the runs that have ended and tell their results."""
    for run in [run for run, process in active.items() if process.poll() is not None]:
        status = active.pop(run).returncode
        if run.is_finished:
            _tell(run, metric)
        else:
            print(f"seed {run.seed}  failed: {_cause(run.log, status)}  (more in {run.log})", flush=True)


def _stop(processes: Iterable[subprocess.Popen[bytes]], number: int) -> None:
    for process in processes:
        process.send_signal(number)
    for process in processes:
        process.wait()


def _tell(run: SeedRun, metric: str, more: str = "") -> None:
    summary = run.summary
    print(f"seed {run.seed}  {metric} {summary[metric]:.1f}  {summary['wall_seconds']:.0f} s{more}", flush=True)


def _cause(log: Path, status: int) -> str:
    """What a run that failed said of it, before its notes of where it stood; the signal of one that was killed."""
    if status < 0:
        return f"ended by {signal.Signals(-status).name}"
    lines = log.read_text(errors="replace").strip().splitlines()
    told = [line for line in lines if line.startswith("qframe: ") and not line.startswith("qframe: warning:")]
    return (told or lines or ["no word"])[-1].removeprefix("qframe: ")


def import_path() -> list[str]:
    """Where a child process finds this very qframe, whatever folder it starts in."""
    earlier = os.environ.get("PYTHONPATH")
    return [str(Path(qframe.__file__).parents[1]), *([earlier] if earlier else [])]


def _pairs(options: Sequence[str]) -> list[tuple[str, str]]:
    return list(zip(options[::2], options[1::2], strict=True))
