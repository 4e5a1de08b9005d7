"""Records of a run: one JSON object per log in ``metrics.jsonl``, and TensorBoard scalars and hyperparameters."""

import json
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

    def open(self, metrics: Path, *, resume_at: int | None = None) -> None:
        """Start writing in the folder of ``metrics``; at a resume, what was logged past that frame is dropped."""
        metrics.parent.mkdir(parents=True, exist_ok=True)
        self._metrics = metrics
        if resume_at is not None:
            _drop_past(metrics, resume_at)
        if self.tensorboard:
            purge = None if resume_at is None else resume_at + 1
            self._writer = SummaryWriter(str(metrics.parent), purge_step=purge)

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


def _drop_past(metrics: Path, frames: int) -> None:
    if not metrics.is_file():
        return
    lines = [line for line in metrics.read_text().splitlines() if _frames_of(line) <= frames]
    metrics.write_text("".join(line + "\n" for line in lines))


def _frames_of(line: str) -> float:
    try:
        return json.loads(line)["frames"]
    except (json.JSONDecodeError, KeyError):
        return float("inf")  # a line cut off when the run was stopped
