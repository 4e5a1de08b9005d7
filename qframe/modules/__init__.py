"""TorchRL's tensordict modules, on top of qframe's networks and heads."""

from qframe.exploration import EGreedyModule, ExplorationType, set_exploration_type
from qframe.modules.actors import Actor, ProbabilisticActor, ValueOperator
from qframe.modules.distributional import DistributionalDQNnet, DistributionalQValueActor, DistributionalQValueModule
from qframe.modules.distributions import NormalParamExtractor, TanhNormal
from qframe.modules.dueling import DuelingCnnDQNet, DuelingMlpDQNet
from qframe.modules.hooks import DistributionalQValueHook, QValueHook
from qframe.modules.operators import ActorCriticOperator, ActorCriticWrapper, ActorValueOperator
from qframe.modules.q_value import QValueActor, QValueModule
from qframe.modules.safe import SafeModule, SafeSequential
from qframe.networks import MLP, ConvNet, NoisyLinear

__all__ = [
    "MLP", "Actor", "ActorCriticOperator", "ActorCriticWrapper", "ActorValueOperator", "ConvNet",
    "DistributionalDQNnet", "DistributionalQValueActor", "DistributionalQValueHook", "DistributionalQValueModule",
    "DuelingCnnDQNet", "DuelingMlpDQNet", "EGreedyModule", "ExplorationType", "NoisyLinear", "NormalParamExtractor",
    "ProbabilisticActor", "QValueActor", "QValueHook", "QValueModule", "SafeModule", "SafeSequential", "TanhNormal",
    "ValueOperator", "set_exploration_type",
]
