"""One training run as Hydra calls it: alone, or as a job of a sweep that goes on whatever becomes of it."""

import sys
import time
import traceback
from dataclasses import dataclass
from math import nan
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from qframe.cli.arguments import apply_trust
from qframe.config import build
from qframe.config.compose import recheck
from qframe.config.errors import UserError
from qframe.runner.run_folder import read_json, write_json

OBJECTIVE = "eval_return_mean"


class Refused(UserError):
    """A combination that cannot be built."""


@dataclass
class Job:
    """The task function: builds the run that a config describes and trains it.

    Args:
        trust: packages that the job's process is to trust as well.
        is_swept: one of several: what goes wrong is written to its folder and the others go on.
        started: when the process started, on ``time.monotonic``'s clock; None counts from the job's own start.
        error: what a single run raised, for the caller to raise outside of Hydra.
    """

    trust: tuple[str, ...] = ()
    is_swept: bool = False
    started: float | None = None
    error: Exception | None = None

    def __call__(self, config: DictConfig) -> float:
        """Train; the sweeper's objective is the final greedy return, NaN where there is none."""
        hydra = HydraConfig.get()
        folder = Path(hydra.runtime.output_dir)
        if self.is_swept:
            print(f"job {folder.name}  {' '.join(_typed(hydra.overrides.task))}", flush=True)
        try:
            summary = self._train(config, folder)
        except Exception as error:
            if not self.is_swept:
                self.error = error
                _remove_if_empty(folder)
                return nan
            return self._record(error, folder, _typed(hydra.overrides.task))
        if self.is_swept:
            write_json(folder / "summary.json", summary | {"overrides": _typed(hydra.overrides.task)})
        return float(summary.get(OBJECTIVE, nan))

    def _train(self, config: DictConfig, folder: Path) -> dict[str, Any]:
        started = time.monotonic() if self.started is None else self.started
        apply_trust(self.trust)
        try:
            checked = recheck(config, build.PROVIDED)
            runner = build.build(checked, folder, started=started)
        except ValueError as error:
            raise Refused(str(error)) from error
        return runner.run()

    def _record(self, error: Exception, folder: Path, overrides: list[str]) -> float:
        """Tell and write down why a job of a sweep has no result."""
        status = getattr(error, "exit_status", None)
        if isinstance(status, int) and status > 128:  # a signal: the whole sweep stops
            print(f"qframe: {error}", file=sys.stderr)
            raise SystemExit(status) from error
        refused = isinstance(error, UserError)
        outcome = {"status": "refused" if refused else "failed", "reason": str(error)}
        if not refused and status is None:
            traceback.print_exception(error)
        print(f"qframe: job {folder.name} ({' '.join(overrides)}) {outcome['status']}: {error}", file=sys.stderr)
        write_json(folder / "summary.json", read_json(folder / "summary.json") | outcome | {"overrides": overrides})
        return nan


def _typed(overrides: Any) -> list[str]:
    """The overrides as the user typed them, without the ``++`` that forces a value in."""
    return [str(override).lstrip("+") for override in overrides]


def _remove_if_empty(folder: Path) -> None:
    if not any(folder.iterdir()):
        folder.rmdir()
