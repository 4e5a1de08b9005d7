"""Training: collecting, learning, logging, evaluating and saving, in one loop."""

from qframe.training.bonus import Bonus, CountBonus, RNDBonus
from qframe.training.callback import Callback, TrainingRun
from qframe.training.collector import Collector
from qframe.training.early_stop import EarlyStop
from qframe.training.evaluation import Evaluation, EvaluationResult
from qframe.training.learner import Learner
from qframe.training.learner_ranks import ParallelLearner
from qframe.training.pipelined import AsyncCollector, PipelinedCollector
from qframe.training.reward import RewardTransform
from qframe.training.runner import Runner

__all__ = [
    "AsyncCollector", "Bonus", "Callback", "Collector", "CountBonus", "EarlyStop", "Evaluation", "EvaluationResult",
    "Learner", "ParallelLearner", "PipelinedCollector", "RNDBonus", "RewardTransform", "Runner", "TrainingRun",
]
