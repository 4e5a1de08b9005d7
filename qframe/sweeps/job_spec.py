"""A job as plain values, and how it is composed from its overrides: once, so that the config checked is the one run."""

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from hydra.core.config_loader import ConfigLoader

from qframe.config import build
from qframe.config.compose import Composition, composed
from qframe.errors import ConfigError
from qframe.runs.folder import RunFolder
from qframe.sweeps.folder import Overrides, SweepFolder

MOST_CHECKED = 200
"""Jobs up to which a sweep is checked combination by combination; a larger one is checked value by value."""


@dataclass(frozen=True)
class JobSpec:
    """A job of a sweep, as plain values that can be sent to another process or machine.

    Args:
        number: the same at every launch of the sweep.
        folder: the job's run folder.
        overrides: as typed.
        config: composed, as plain values.
        trust: further packages that the job's process trusts.
    """

    number: int
    folder: Path
    overrides: tuple[str, ...]
    config: Mapping[str, Any] = field(repr=False)
    trust: tuple[str, ...] = ()


@lru_cache(maxsize=50 * MOST_CHECKED)  # a file that is edited during the sweep changes no job that was checked
def composition(loader: ConfigLoader, overrides: Overrides) -> Composition:
    """The composed config of one job; the files are read once per choice of groups."""
    return composed(loader, overrides, build.PROVIDED, is_job=True)


class SpecMaker:
    """Makes the jobs of a sweep.

    Args:
        folder: the sweep's folder.
        loader: composes configs.
        trust: packages to trust.
    """

    def __init__(self, folder: SweepFolder, loader: ConfigLoader, trust: tuple[str, ...] = ()) -> None:
        self.loader = loader
        self._folder, self._trust = folder, trust

    def __call__(self, number: int, overrides: Overrides) -> JobSpec | None:
        """A job with its config; None if the config has faults, which are printed and written to the job's summary."""
        try:
            found = composition(self.loader, overrides)
            faults = found.faults
        except ConfigError as error:
            faults = error.faults
        else:
            if not faults:
                return JobSpec(number, self._folder.job(number), overrides, found.config, self._trust)
        reason = str(ConfigError(faults))
        print(f"qframe: job {number} ({' '.join(overrides)}) refused: {reason}", file=sys.stderr)
        outcome = {"status": "refused", "reason": reason, "overrides": list(overrides)}
        RunFolder(self._folder.job(number)).update_summary(outcome)
        return None
