"""Records of a run: one JSON object per log in ``metrics.jsonl``, TensorBoard, and what else is asked for."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from qframe.actions.action_space import ActionSpace
from qframe.envs import Envs
from qframe.loggers.probe_states import FixedStates
from qframe.loggers.protocol import Opening, Record
from qframe.loggers.tensorboard import TensorBoard
from qframe.networks.protocol import TrainedNetwork
from qframe.runs.masking import masked


class Logger:
    """Writes metrics under one name everywhere: ``group/name``.

    Args:
        every: frames between logs.
        tensorboard: whether to write TensorBoard event files beside ``metrics.jsonl``.
        pictures: whether they show what the network makes of a few fixed states.
        histograms: whether they show parameters and gradients.
        also: further records, by name.

    Raises:
        ValueError: ``every`` below 1, or pictures or histograms without TensorBoard to show them.
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
            raise ValueError("expected tensorboard=true for histograms, got false")
        self.every, self.tensorboard, self._pictures = every, tensorboard, pictures
        self._board = TensorBoard(histograms=histograms) if tensorboard else None
        own: list[Record] = [self._board] if self._board is not None else []
        self._records = [*own, *(also or {}).values()]
        self._metrics: Path | None = None
        self._config: Mapping[str, Any] = {}

    def describe(self, config: Mapping[str, Any], envs: Envs, action_space: ActionSpace) -> None:
        """What the run is: its resolved config, recorded with secrets masked, and where its states come from."""
        self._config = masked(config)
        if self._board is not None and self._pictures:
            self._board.states = FixedStates(envs, action_space)

    def open(self, metrics: Path, *, resume: dict[str, Any] | None = None, frames: int = 0) -> None:
        """Start writing in the folder of ``metrics``.

        Args:
            metrics: the file.
            resume: what ``state_dict`` gave when a run that goes on was saved: what was logged since then is dropped.
                None: a run that begins; what another one has left is dropped.
            frames: where it goes on.
        """
        metrics.parent.mkdir(parents=True, exist_ok=True)
        self._metrics = metrics
        kept = 0 if resume is None else resume["bytes"]
        is_begun = metrics.is_file() and metrics.stat().st_size > kept
        if is_begun:
            os.truncate(metrics, kept)
        void_from = (0 if is_begun else None) if resume is None else frames + 1
        for record in self._records:
            record.open(Opening(metrics.parent, self._config, void_from))

    def flush(self) -> None:
        """Wait until the disk has all that was logged, so that a checkpoint finds it there."""
        assert self._metrics is not None, "open() comes before flush()"
        if self._metrics.is_file():
            with self._metrics.open("a") as file:
                os.fsync(file.fileno())
        for record in self._records:
            record.flush()

    def state_dict(self) -> dict[str, Any]:
        """How long ``metrics.jsonl`` is."""
        there = self._metrics is not None and self._metrics.is_file()
        return {"bytes": self._metrics.stat().st_size if there and self._metrics else 0}

    def log(self, frames: int, values: dict[str, float]) -> None:
        """Write one object of metrics at this frame."""
        assert self._metrics is not None, "open() comes before log()"
        with self._metrics.open("a") as file:
            file.write(json.dumps({"frames": frames, **values}) + "\n")
        for record in self._records:
            record.log(frames, values)

    def look(self, frames: int, network: TrainedNetwork) -> None:
        """Record what there is to see in the network at an evaluation."""
        for record in self._records:
            record.look(frames, network)

    def animate(self, name: str, frames: int, gif: bytes, size: tuple[int, int]) -> None:
        """Show an animated GIF of that height and width, where there is TensorBoard."""
        if self._board is not None:
            self._board.animate(name, frames, gif, size)

    def finish(self, summary: Mapping[str, Any]) -> None:
        """Record the outcome."""
        for record in self._records:
            record.finish(summary)

    def close(self) -> None:
        """Flush and close."""
        for record in self._records:
            record.close()
