"""Training: acting, learning, evaluating, logging and saving, in one loop."""

from qframe.runner.checkpoint import Checkpoints
from qframe.runner.checkpoint_loading import load_checkpoint
from qframe.runner.collector import Collector
from qframe.runner.compiled_loss import CompiledLoss
from qframe.runner.early_stop import EarlyStop
from qframe.runner.evaluation import Evaluation, EvaluationResult
from qframe.runner.learner import Learner, Optimizer
from qframe.runner.logger import Logger
from qframe.runner.mlflow_record import MlflowRecord
from qframe.runner.pipelined import AsyncCollector, PipelinedCollector
from qframe.runner.reward import RewardTransform
from qframe.runner.run_folder import RunFolder
from qframe.runner.runner import Runner
from qframe.runner.signals import Stopped
from qframe.runner.wandb_record import WandbRecord

__all__ = [
    "AsyncCollector", "Checkpoints", "Collector", "CompiledLoss", "EarlyStop", "Evaluation", "EvaluationResult",
    "Learner", "Logger", "MlflowRecord", "Optimizer", "PipelinedCollector", "RewardTransform", "RunFolder", "Runner",
    "Stopped", "WandbRecord", "load_checkpoint",
]
