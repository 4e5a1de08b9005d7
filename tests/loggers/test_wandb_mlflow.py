"""Weights & Biases and MLflow, offline, with the packages themselves."""

import importlib
import json
import shutil
from types import SimpleNamespace

import pytest

from qframe.cli.main import main
from qframe.loggers.mlflow import MlflowRecord
from qframe.loggers.protocol import Opening, RecordUnavailable
from qframe.loggers.wandb import WandbRecord, own_id

pytestmark = pytest.mark.filterwarnings("ignore::sqlalchemy.exc.SADeprecationWarning")  # of MLflow's own queries
CONFIG = {"seed": 1, "head": {"num_atoms": 51, "transform": None}, "long": ["x" * 700]}
SUMMARY = {"status": "finished", "frames": 200, "eval_return_mean": 9.0}


@pytest.fixture(scope="module")
def mlflow_client():
    """The class, imported where it is needed: that takes seconds, and every worker collects every test."""
    return importlib.import_module("mlflow").MlflowClient


@pytest.fixture(scope="module")
def new_store(tmp_path_factory, mlflow_client):
    """An empty store, which MLflow takes seconds to make."""
    file = tmp_path_factory.mktemp("store") / "store.db"
    client = mlflow_client(f"sqlite:///{file}")
    client.search_experiments()
    client._tracking_client.store.engine.dispose()
    return file


def test_mlflow_has_config_metrics_and_outcome_of_a_run_and_resumes_it(tmp_path, new_store, mlflow_client):
    shutil.copy(new_store, tmp_path)
    uri = f"sqlite:///{tmp_path}/store.db"
    for void_from in (None, 100):
        record = MlflowRecord(experiment="mine", tracking_uri=uri)
        record.open(Opening(tmp_path, CONFIG, void_from))
        record.log(void_from or 50, {"train/episode_return": 1.5})
        if void_from:
            record.finish(SUMMARY)
        record.close()
    client = mlflow_client(uri)
    (run,) = client.search_runs([client.get_experiment_by_name("mine").experiment_id])
    assert run.info.status == "FINISHED"
    assert run.data.params["head.num_atoms"] == "51"
    assert len(run.data.params["long"]) == 500
    assert run.data.metrics["eval_return_mean"] == 9.0
    assert [metric.step for metric in client.get_metric_history(run.info.run_id, "train/episode_return")] == [50, 100]
    client._tracking_client.store.engine.dispose()


def test_a_store_that_does_not_exist_is_reported(tmp_path):
    record = MlflowRecord(experiment="mine", tracking_uri="nonsense://x")
    with pytest.raises(RecordUnavailable, match="MLflow cannot use the store nonsense://x: "):
        record.open(Opening(tmp_path, {}))
    record.close()


def test_a_store_that_goes_away_does_not_stop_training(tmp_path, new_store, mlflow_client, monkeypatch):
    shutil.copy(new_store, tmp_path)
    record = MlflowRecord(experiment="mine", tracking_uri=f"sqlite:///{tmp_path}/store.db")
    record.open(Opening(tmp_path, CONFIG))

    def gone(*arguments, **options):
        raise importlib.import_module("mlflow").exceptions.MlflowException("connection refused")

    monkeypatch.setattr(mlflow_client, "log_batch", gone)
    with pytest.warns(UserWarning, match=r"rejected metrics \(connection refused\); no more are sent"):
        record.log(50, {"train/episode_return": 1.5})
    record.log(60, {"train/episode_return": 1.5})
    record.finish(SUMMARY)
    record.close()


def test_wandb_is_started_with_an_id_that_a_resumed_run_has_again(tmp_path, monkeypatch):
    calls = []
    log = SimpleNamespace(
        log=lambda values, step: calls.append((step, values)), summary={}, finish=lambda: calls.append("finish")
    )
    real = importlib.import_module("wandb")
    monkeypatch.setattr(real, "init", lambda **options: calls.append(options) or log)
    for _ in range(2):
        record = WandbRecord(project="p", mode="offline")
        record.open(Opening(tmp_path, CONFIG))
        record.log(50, {"eval/episode_return": 2.0})
        record.finish(SUMMARY)
        record.close()
    first, second = (call for call in calls if isinstance(call, dict))
    assert first["id"] == second["id"] == (tmp_path / "wandb" / "run-id").read_text()
    assert (first["project"], first["mode"], first["resume"], first["config"]) == ("p", "offline", "allow", CONFIG)
    assert (50, {"eval/episode_return": 2.0}) in calls
    assert log.summary["eval_return_mean"] == 9.0


def test_a_new_folder_has_an_id_of_its_own(tmp_path):
    assert own_id(tmp_path / "a" / "id", "one") == "one"
    assert own_id(tmp_path / "a" / "id", "two") == "one"


def test_both_at_once_and_offline(tmp_path, new_store, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copy(new_store, "mlflow.db")
    words = ["total_frames=200", "runner.learning_starts=100", "evaluation.final_episodes=1", "logger.every=100"]
    assert main(["train", "logger=[wandb,mlflow]", *words, "hydra.run.dir=run"]) == 0
    assert list((tmp_path / "run" / "wandb").glob("offline-run-*/*.wandb"))
    assert (tmp_path / "mlflow.db").is_file()
    assert list((tmp_path / "run").glob("events.out*"))
    assert json.loads((tmp_path / "run" / "metrics.jsonl").read_text().splitlines()[-1])["frames"] == 200


@pytest.mark.parametrize(("option", "extra"), [("wandb", "wandb"), ("mlflow", "mlflow")])
def test_a_missing_package_is_reported_with_the_pip_command(option, extra, monkeypatch, capsys):
    def missing(name):
        raise ImportError(name)

    monkeypatch.setattr(importlib, "import_module", missing)
    with pytest.raises(ValueError, match=rf'pip install -e ".*\[{extra}\]"'):
        WandbRecord(project="p") if option == "wandb" else MlflowRecord(experiment="e", tracking_uri="u")


def test_a_mode_that_there_is_not():
    with pytest.raises(ValueError, match="expected mode to be offline or online, got 'of'"):
        WandbRecord(project="p", mode="of")
