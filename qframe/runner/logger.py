"""Records of a run: one JSON object per log in ``metrics.jsonl``, and TensorBoard scalars and hyperparameters."""

import json
import os
from pathlib import Path
from typing import Any

from torch.utils.tensorboard import SummaryWriter
from torch.utils.tensorboard.summary import hparams


class Logger:
    """Writes metrics under one name everywhere: ``group/name``.

    Args:
        every: frames between logs.
        tensorboard: whether to write TensorBoard event files beside ``metrics.jsonl``.

    Raises:
        ValueError: ``every`` below 1.
    """

    def __init__(self, *, every: int, tensorboard: bool = True) -> None:
        if every < 1:
            raise ValueError(f"expected every of at least 1 frame, got {every}")
        self.every = every
        self.tensorboard = tensorboard
        self._writer: SummaryWriter | None = None
        self._metrics: Path | None = None

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
        if self.tensorboard:
            purged = (0 if is_begun else None) if resume is None else frames + 1
            self._writer = SummaryWriter(str(metrics.parent), purge_step=purged)

    def flush(self) -> None:
        """Wait until the disk has all that was logged, so that a checkpoint finds it there."""
        assert self._metrics is not None, "open() comes before flush()"
        if self._metrics.is_file():
            with self._metrics.open("a") as file:
                os.fsync(file.fileno())
        if self._writer is not None:
            self._writer.flush()

    def state_dict(self) -> dict[str, Any]:
        """How long ``metrics.jsonl`` is."""
        there = self._metrics is not None and self._metrics.is_file()
        return {"bytes": self._metrics.stat().st_size if there and self._metrics else 0}

    def log(self, frames: int, values: dict[str, float]) -> None:
        """Write one object of metrics at this frame."""
        assert self._metrics is not None, "open() comes before log()"
        with self._metrics.open("a") as file:
            file.write(json.dumps({"frames": frames, **values}) + "\n")
        if self._writer is not None:
            for name, value in values.items():
                self._writer.add_scalar(name, value, frames)

    def log_hyperparameters(self, config: dict[str, Any], summary: dict[str, Any]) -> None:
        """The HParams tab's row of this run, in the run's own event file, with the scores of its summary."""
        if self._writer is None:
            return
        metrics = {name: summary[name] for name in ("eval_return_mean", "eval_return_last", "frames_per_second")}
        plain = {name: value for name, value in config.items() if type(value) in (bool, str, float, int)}
        for event in hparams(plain, metrics):
            self._writer.file_writer.add_summary(event)  # pyright: ignore[reportOptionalMemberAccess]
        for name, value in metrics.items():
            self._writer.add_scalar(name, value, 0)

    def close(self) -> None:
        """Flush and close."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None
