"""MLflow, as a further record of a run."""

import importlib
import json
import time
import warnings
from collections.abc import Mapping
from typing import Any

from qframe.formatting import install_command
from qframe.loggers.protocol import Opening, Record, RecordUnavailable
from qframe.runs.folder import flat

MAX_LENGTH = 500  # the characters of a parameter that every store accepts


class MlflowRecord(Record):
    """Metrics, config and summary in an experiment of MLflow; a resumed run continues its own record.

    Args:
        experiment: the experiment's name.
        tracking_uri: the store: ``sqlite:///FILE`` on this machine, or a server's ``http://…``.

    Raises:
        ValueError: the package is not installed.
    """

    def __init__(self, *, experiment: str, tracking_uri: str) -> None:
        try:
            self._mlflow: Any = importlib.import_module("mlflow")
            self._entities: Any = importlib.import_module("mlflow.entities")
        except ImportError as missing:
            raise ValueError(f"logger=mlflow needs the package mlflow-skinny; {install_command('mlflow')}") from missing
        self._experiment, self._uri = experiment, tracking_uri
        self._client: Any = None
        self._engine: Any = None
        self._run_id, self._status = "", "KILLED"

    def open(self, opening: Opening) -> None:
        """Start a run, or continue the one whose id is in the folder.

        Raises:
            RecordUnavailable: the store cannot be reached.
        """
        try:
            self._start(opening)
        except self._mlflow.exceptions.MlflowException as error:
            reason = next(iter(str(error).splitlines()), type(error).__name__)
            raise RecordUnavailable(f"MLflow cannot use the store {self._uri}: {reason}") from error

    def _start(self, opening: Opening) -> None:
        file = opening.folder / "mlflow-run-id"
        self._client = self._mlflow.MlflowClient(self._uri)
        self._engine = getattr(self._client._tracking_client.store, "engine", None)  # of a database
        if file.is_file():
            self._run_id = file.read_text().strip()
            self._client.update_run(self._run_id, status="RUNNING")
            return
        name = "/".join(opening.folder.absolute().parts[-2:])
        self._run_id = self._client.create_run(self._find_experiment(), run_name=name).info.run_id
        file.write_text(self._run_id)
        values = {key: value for key, value in flat(opening.config).items() if value is not None}
        parameters = [self._entities.Param(key, _text(value)) for key, value in values.items()]
        for start in range(0, len(parameters), 100):
            self._client.log_batch(self._run_id, params=parameters[start : start + 100])

    def log(self, frames: int, values: Mapping[str, float]) -> None:
        """Log metrics; the step is the frame."""
        if self._client is None:
            return
        now = int(time.time() * 1000)
        metrics = [self._entities.Metric(name, float(value), now, frames) for name, value in values.items()]
        try:
            self._client.log_batch(self._run_id, metrics=metrics)
        except self._mlflow.exceptions.MlflowException as error:  # metrics.jsonl has everything, so training continues
            reason = next(iter(str(error).splitlines()), type(error).__name__)
            warnings.warn(f"MLflow at {self._uri} rejected metrics ({reason}); no more are sent", stacklevel=2)
            self._client = None

    def finish(self, summary: Mapping[str, Any]) -> None:
        """Log the numbers of the summary."""
        numbers = {key: v for key, v in summary.items() if isinstance(v, int | float) and not isinstance(v, bool)}
        self.log(int(summary["frames"]), numbers)
        self._status = "FINISHED"

    def close(self) -> None:
        """Set the status of the run, finished or killed, and close the connections that MLflow leaves open."""
        client, self._client = self._client, None
        if client is not None and self._run_id:
            try:
                client.set_terminated(self._run_id, self._status)
            except self._mlflow.exceptions.MlflowException as error:
                warnings.warn(f"MLflow at {self._uri} could not mark the run as ended: {error}", stacklevel=2)
        if self._engine is not None:
            self._engine.dispose()

    def _find_experiment(self) -> str:
        """The experiment's id; made if it does not exist, which another process may do at the same moment."""
        for _ in range(2):
            found = self._client.get_experiment_by_name(self._experiment)
            if found is not None:
                return found.experiment_id
            try:
                return self._client.create_experiment(self._experiment)
            except self._mlflow.exceptions.MlflowException:
                continue
        raise RecordUnavailable(f"MLflow at {self._uri} cannot make the experiment {self._experiment!r}")


def _text(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, default=str)
    return text if len(text) <= MAX_LENGTH else f"{text[: MAX_LENGTH - 1]}…"
