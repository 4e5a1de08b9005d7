"""From a job's overrides to the job: composed once, and what was checked is what runs."""

import sys
from functools import lru_cache

from hydra.core.config_loader import ConfigLoader

from qframe.config import build
from qframe.config.compose import Composition, composed
from qframe.errors import ConfigError
from qframe.runs.folder import RunFolder
from qframe.sweeps.folder import Overrides, SweepFolder
from qframe.sweeps.job import JobSpec

MOST_CHECKED = 100  # a larger sweep is checked value by value, not combination by combination


@lru_cache(maxsize=4 * MOST_CHECKED)  # checked first, and what was checked is what runs, even when a file is edited
def composition(loader: ConfigLoader, overrides: Overrides) -> Composition:
    """The composed config of one job."""
    return composed(loader, overrides, build.PROVIDED)


class SpecMaker:
    """Makes the jobs of a sweep.

    Args:
        folder: the sweep's.
        loader: composes.
        trust: packages to trust.
    """

    def __init__(self, folder: SweepFolder, loader: ConfigLoader, trust: tuple[str, ...] = ()) -> None:
        self.loader = loader
        self._folder, self._trust = folder, trust

    def __call__(self, number: int, overrides: Overrides) -> JobSpec | None:
        """A job with its config; None for one whose config has faults, which is told and written down."""
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
