"""Loggers: metrics.jsonl, TensorBoard, Weights & Biases, MLflow, and the console."""

from qframe.loggers.logger import Logger
from qframe.loggers.mlflow import MlflowRecord
from qframe.loggers.wandb import WandbRecord

__all__ = [
    "Logger", "MlflowRecord", "WandbRecord",
]
