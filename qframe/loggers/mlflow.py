"""MLflow as a further record of a run."""

import importlib
import json
import time
import warnings
from collections.abc import Mapping
from typing import Any

from qframe.loggers.protocol import Opening, RecordUnavailable
from qframe.networks.protocol import TrainedNetwork
from qframe.runs.folder import flat

LONGEST = 500  # characters of a parameter that every store takes


class MlflowRecord:
    """Metrics, the config and the outcome in an experiment of MLflow; a resumed run goes on in its own.

    Args:
        experiment: the experiment's name.
        tracking_uri: of the store: ``sqlite:///FILE`` on this machine, or a server's ``http://…``.

    Raises:
        ValueError: the package is not installed.
    """

    def __init__(self, *, experiment: str, tracking_uri: str) -> None:
        try:
            self._mlflow: Any = importlib.import_module("mlflow")
            self._entities: Any = importlib.import_module("mlflow.entities")
        except ImportError as missing:
            raise ValueError('logger=mlflow needs the package mlflow-skinny; pip install "qframe[mlflow]"') from missing
        self._experiment, self._uri = experiment, tracking_uri
        self._client: Any = None
        self._run_id, self._status = "", "KILLED"

    def open(self, opening: Opening) -> None:
        """Start the run, or go on with the one whose id the folder has.

        Raises:
            RecordUnavailable: the store cannot be reached.
        """
        try:
            self._start(opening)
        except self._mlflow.exceptions.MlflowException as error:
            reason = next(iter(str(error).splitlines()), type(error).__name__)
            raise RecordUnavailable(f"expected a store of MLflow at {self._uri}, got: {reason}") from error

    def _start(self, opening: Opening) -> None:
        file = opening.folder / "mlflow-run-id"
        self._client = self._mlflow.MlflowClient(self._uri)
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
        """Metrics at a step that is a frame."""
        if self._client is None:
            return
        now = int(time.time() * 1000)
        metrics = [self._entities.Metric(name, float(value), now, frames) for name, value in values.items()]
        try:
            self._client.log_batch(self._run_id, metrics=metrics)
        except self._mlflow.exceptions.MlflowException as error:  # training goes on: metrics.jsonl has everything
            reason = next(iter(str(error).splitlines()), type(error).__name__)
            warnings.warn(f"MLflow at {self._uri} no longer takes metrics ({reason}); no more are sent", stacklevel=2)
            self._client = None

    def look(self, frames: int, network: TrainedNetwork) -> None:
        """Nothing: pictures are TensorBoard's."""

    def finish(self, summary: Mapping[str, Any]) -> None:
        """The outcome."""
        numbers = {key: v for key, v in summary.items() if isinstance(v, int | float) and not isinstance(v, bool)}
        self.log(int(summary["frames"]), numbers)
        self._status = "FINISHED"

    def flush(self) -> None:
        """Every call is written at once."""

    def close(self) -> None:
        """Say how the run ended."""
        client, self._client = self._client, None
        if client is not None and self._run_id:
            try:
                client.set_terminated(self._run_id, self._status)
            except self._mlflow.exceptions.MlflowException as error:
                warnings.warn(f"MLflow at {self._uri} was not told that the run ended: {error}", stacklevel=2)

    def _find_experiment(self) -> str:
        """The experiment's id; another process may make it at the same moment."""
        for _ in range(2):
            found = self._client.get_experiment_by_name(self._experiment)
            if found is not None:
                return found.experiment_id
            try:
                return self._client.create_experiment(self._experiment)
            except self._mlflow.exceptions.MlflowException:
                continue
        raise RecordUnavailable(f"expected the experiment {self._experiment!r} in {self._uri}, got none made")


def _text(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, default=str)
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"
