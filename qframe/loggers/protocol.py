"""What a logger writes to besides ``metrics.jsonl``: a place for scalars, the config and the outcome of a run."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from qframe.errors import RunError
from qframe.networks.protocol import TrainedNetwork


class Opening(NamedTuple):
    """What a record is told when a run starts or goes on.

    Args:
        folder: the run's.
        config: the resolved config, secrets masked; empty for a run composed by hand.
        void_from: what the run recorded from this frame on is void, as it goes on before it; None: a new run.
    """

    folder: Path
    config: Mapping[str, Any]
    void_from: int | None = None


class RecordUnavailable(RunError):
    """A place to record to cannot be reached: nothing is trained unrecorded."""


class Record(Protocol):
    """A record of a run. To add one: a class like this and a YAML in ``conf/logger/`` that puts it under ``also``."""

    def open(self, opening: Opening) -> None:
        """A run starts or goes on."""
        ...

    def log(self, frames: int, values: Mapping[str, float]) -> None:
        """Metrics at this frame, ``group/name``."""
        ...

    def look(self, frames: int, network: TrainedNetwork) -> None:
        """The network at an evaluation, for records that show it."""
        ...

    def finish(self, summary: Mapping[str, Any]) -> None:
        """The run is finished, with this summary."""
        ...

    def flush(self) -> None:
        """Write what is still held back."""
        ...

    def close(self) -> None:
        """No more comes: the run is finished, stopped or failed."""
        ...
