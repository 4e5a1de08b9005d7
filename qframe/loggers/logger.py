"""The logger of a run: ``metrics.jsonl``, TensorBoard, and optional further records."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from qframe.actions.action_space import ActionSpace
from qframe.envs import Envs
from qframe.loggers.console import Report
from qframe.loggers.failures import Failures
from qframe.loggers.metrics_file import MetricsFile
from qframe.loggers.probe_states import FixedStates
from qframe.loggers.protocol import Opening, Record
from qframe.loggers.tensorboard import TensorBoard
from qframe.networks.protocol import TrainedNetwork
from qframe.runs.masking import masked


class Logger:
    """Writes each metric under one name, ``group/name``, to every record.

    Once open, it does not fail: a record that cannot be written to is reported once, and the others are still written.

    Args:
        every: frames between logs.
        tensorboard: whether to write TensorBoard event files beside ``metrics.jsonl``.
        pictures: whether TensorBoard shows the action values and return distributions of a few fixed states.
        histograms: whether TensorBoard shows histograms of parameters and gradients.
        also: further records, by name.

    Raises:
        ValueError: ``every`` below 1, or histograms without TensorBoard to show them.
    """

    def __init__(
        self,
        *,
        every: int,
        tensorboard: bool = True,
        pictures: bool = True,
        histograms: bool = False,
        also: Mapping[str, Record] | None = None,
    ) -> None:
        if every < 1:
            raise ValueError(f"expected every of at least 1 frame, got {every}")
        if histograms and not tensorboard:
            raise ValueError("histograms=true needs TensorBoard, which shows them; set tensorboard=true")
        self.every, self.tensorboard, self._pictures = every, tensorboard, pictures
        self._board = TensorBoard(histograms=histograms) if tensorboard else None
        own: list[Record] = [self._board] if self._board is not None else []
        self._records = [*own, *(also or {}).values()]
        self._metrics: MetricsFile | None = None
        self._is_silent = False
        self._config: Mapping[str, Any] = {}
        self._failures = Failures(Report(), "")

    def describe(self, config: Mapping[str, Any], envs: Envs, action_space: ActionSpace) -> None:
        """Set the resolved config, which is recorded with secrets masked, and the environment of the fixed states."""
        self._config = masked(config)
        if self._board is not None and self._pictures:
            self._board.states = FixedStates(envs, action_space)

    def open(
        self, metrics: Path, *, report: Report, resume: Mapping[str, Any] | None = None, frames: int = 0
    ) -> None:
        """Start writing in the folder of ``metrics``; entries logged after the checkpoint are dropped.

        Args:
            metrics: the file ``metrics.jsonl``.
            report: where a failure is reported.
            resume: the ``state_dict`` in the checkpoint of a resumed run; None for a new run.
            frames: of that checkpoint.
        """
        if self._is_silent:
            return
        self._metrics = MetricsFile(metrics)
        is_cut = self._metrics.open(0 if resume is None else resume["bytes"])
        void_from = (0 if is_cut else None) if resume is None else frames + 1
        for record in self._records:
            record.open(Opening(metrics.parent, self._config, void_from))
        self._failures = Failures(report, "a log could not be written")

    def log(self, frames: int, values: Mapping[str, float]) -> None:
        """Write metrics at this frame."""
        if self._is_silent:
            return
        with self._failures.tolerated():
            self._file.log(frames, values)
        self._each(lambda record: record.log(frames, values))

    def log_network(self, frames: int, network: TrainedNetwork) -> None:
        """Show the network of an evaluation."""
        self._each(lambda record: record.log_network(frames, network))

    def animate(self, name: str, frames: int, gif: bytes, size: tuple[int, int]) -> None:
        """Show an animated GIF of this height and width in TensorBoard, if that is on."""
        if self._board is not None:
            with self._failures.tolerated():
                self._board.animate(name, frames, gif, size)

    def finish(self, summary: Mapping[str, Any]) -> None:
        """Write the summary of a run that has finished."""
        self._each(lambda record: record.finish(summary))

    def flush(self) -> None:
        """Wait until all entries are on disk, so that a run resumed from a checkpoint finds them there."""
        if self._is_silent:
            return
        with self._failures.tolerated():
            self._file.flush()
        self._each(lambda record: record.flush())

    def close(self) -> None:
        """Flush and close."""
        self._each(lambda record: record.close())

    def state_dict(self) -> dict[str, Any]:
        """The size of ``metrics.jsonl`` in bytes."""
        return {"bytes": 0 if self._metrics is None else self._metrics.size}

    def silence(self) -> None:
        """Write nothing from now on, as another process writes the same log; called before ``open``."""
        self._is_silent, self._records = True, []

    @property
    def _file(self) -> MetricsFile:
        assert self._metrics is not None, "open() comes first"
        return self._metrics

    def _each(self, write: Callable[[Record], None]) -> None:
        for record in self._records:
            with self._failures.tolerated():
                write(record)
