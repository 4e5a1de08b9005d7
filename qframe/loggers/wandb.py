"""Weights & Biases, as a further record of a run."""

import importlib
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from qframe.formatting import install_command
from qframe.loggers.protocol import Opening, Record, RecordUnavailable


class WandbRecord(Record):
    """Metrics, config and summary in a project of Weights & Biases; a resumed run continues its own record.

    Args:
        project: the project's name.
        entity: user or team; None is the account's own.
        mode: ``offline`` writes to the run's folder, for ``wandb sync`` later; ``online`` sends at once.

    Raises:
        ValueError: the package is not installed, or ``mode`` is unknown.
    """

    def __init__(
        self, *, project: str, entity: str | None = None, mode: Literal["offline", "online"] = "offline"
    ) -> None:
        if mode not in ("offline", "online"):
            raise ValueError(f"expected mode to be offline or online, got {mode!r}")
        try:
            self._wandb: Any = importlib.import_module("wandb")
        except ImportError as missing:
            raise ValueError(f"logger=wandb needs the package wandb; {install_command('wandb')}") from missing
        self._options = {"project": project, "entity": entity, "mode": mode}
        self._run: Any = None

    def open(self, opening: Opening) -> None:
        """Start a run, or continue the one whose id is in the folder.

        Raises:
            RecordUnavailable: not logged in, no network, or no such project.
        """
        try:
            self._run = self._wandb.init(
                **self._options,
                dir=str(opening.folder),
                id=own_id(opening.folder / "wandb" / "run-id", secrets.token_hex(4)),
                resume="allow",
                name="/".join(opening.folder.absolute().parts[-2:]),
                config=dict(opening.config),
                settings=self._wandb.Settings(console="off", silent=True),
            )
        except self._wandb.errors.Error as error:
            reason = next(iter(str(error).splitlines()), type(error).__name__)
            remedy = "wandb login, or logger.also.wandb.mode=offline"
            raise RecordUnavailable(f"Weights & Biases cannot start a run: {reason}; {remedy}") from error

    def log(self, frames: int, values: Mapping[str, float]) -> None:
        """Log metrics; the step is the frame."""
        self._run.log(dict(values), step=frames)

    def finish(self, summary: Mapping[str, Any]) -> None:
        """Set the run's summary."""
        self._run.summary.update(dict(summary))

    def close(self) -> None:
        """End the run, and wait until all is written."""
        if self._run is not None:
            self._run.finish()
            self._run = None


def own_id(path: Path, new: str) -> str:
    """The id in a file, which is written with ``new`` if it does not exist."""
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(new)
    return path.read_text().strip()
