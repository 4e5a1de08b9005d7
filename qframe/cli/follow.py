"""A rank that follows another process: it gets its config from there and prints nothing."""

import sys
import traceback
import warnings
from pathlib import Path
from typing import Any

from qframe.checkpoints import load_checkpoint
from qframe.config.build import build
from qframe.config.targets import apply_trust
from qframe.errors import RunError, Stopped, UserError
from qframe.machine.ranks import LostRank, Ranks
from qframe.runs.folder import RunFolder


def follow() -> int:
    """Learn with rank 0 until the run ends; the exit status. Why this rank fails is left for rank 0 to print."""
    warnings.simplefilter("ignore")  # rank 0 warns
    try:
        ranks = Ranks.follow()
        return _followed(ranks, ranks.take_job())
    except LostRank:
        return 2


def _followed(ranks: Ranks, job: dict[str, Any]) -> int:
    try:
        apply_trust(job["trust"])
        folder, name, reshards = Path(job["run_dir"]), job["checkpoint"], job["reshards"]
        state = {"name": name} if reshards else None
        if name is not None and not reshards:
            state = load_checkpoint(RunFolder(folder).checkpoints, rank=ranks.rank, name=name)
        build(job["config"], folder, state=state, ranks=ranks, reshards=reshards).run()
    except Stopped as stopped:
        return 128 + stopped.number
    except LostRank:
        raise
    except (UserError, RunError) as error:
        ranks.fail(str(error))
        return 2
    except BaseException as error:
        ranks.fail(f"{type(error).__name__}: {error}")
        traceback.print_exception(error, file=sys.stderr)
        return 1
    return 0
