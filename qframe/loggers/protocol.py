"""The interface of a record: a place, besides ``metrics.jsonl``, where a run writes its metrics, config and outcome."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from qframe.errors import RunError
from qframe.networks.protocol import TrainedNetwork


class Opening(NamedTuple):
    """The run that a record is opened for.

    Args:
        folder: the run's folder.
        config: the resolved config, secrets masked; empty for a run composed by hand.
        void_from: earlier entries from this frame on are void, because the run resumes before it; None if none are.
    """

    folder: Path
    config: Mapping[str, Any]
    void_from: int | None = None


class RecordUnavailable(RunError):
    """A record cannot be opened. The run does not start, so that nothing is trained unrecorded."""


class Record(Protocol):
    """A record of a run. To add one, write such a class and a YAML in ``conf/logger/`` that puts it under ``also``.

    Only ``open`` may stop a run: an exception from any other method is reported once, and training continues.
    """

    def open(self, opening: Opening) -> None:
        """Start the record of a run, or continue that of a resumed one.

        Raises:
            RecordUnavailable: the place cannot be reached.
        """
        ...

    def log(self, frames: int, values: Mapping[str, float]) -> None:
        """Write metrics, named ``group/name``, at this frame."""
        ...

    def log_network(self, frames: int, network: TrainedNetwork) -> None:
        """Show the network of an evaluation; by default nothing is shown."""

    def finish(self, summary: Mapping[str, Any]) -> None:
        """Write the summary of a run that has finished."""
        ...

    def flush(self) -> None:
        """Write all that is buffered; by default nothing is."""

    def close(self) -> None:
        """End the record of a run that has finished, stopped or failed."""
        ...
