"""Networks, heads, the greedy rule, operators and exploration, as modules."""

from qframe.modules.actors import Actor, ProbabilisticActor, ValueOperator
from qframe.modules.behaviour import Exploration
from qframe.modules.boltzmann import Boltzmann
from qframe.modules.bootstrapped import Bootstrapped
from qframe.modules.distributional import DistributionalDQNnet, DistributionalQValueActor, DistributionalQValueModule
from qframe.modules.distributions import NormalParamExtractor, TanhNormal
from qframe.modules.exploration import (
    EGreedyModule,
    ExplorationType,
    ExponentialSchedule,
    LinearSchedule,
    set_exploration_type,
)
from qframe.modules.ez_greedy import EZGreedy
from qframe.modules.greedy_behaviour import Greedy
from qframe.modules.heads import (
    CategoricalHead,
    FullyParameterizedQuantileHead,
    Head,
    HLGaussHead,
    ImplicitQuantileHead,
    Prediction,
    QuantileHead,
    ScalarHead,
)
from qframe.modules.hooks import DistributionalQValueHook, QValueHook
from qframe.modules.ladder import EGreedyLadder
from qframe.modules.networks.conv import ConvNet
from qframe.modules.networks.dueling import DuelingCnnDQNet, DuelingMlpDQNet
from qframe.modules.networks.encoders import EncodedTrunk, make_encoder
from qframe.modules.networks.ensemble import EnsembleQNet
from qframe.modules.networks.impala import ImpalaTrunk
from qframe.modules.networks.mlp import MLP
from qframe.modules.networks.noisy import NoisyLinear
from qframe.modules.networks.q_net import QNet, SharedTrunk
from qframe.modules.networks.trunks import ConvTrunk, MLPTrunk, Trunk
from qframe.modules.noisy_behaviour import NoisyGreedy
from qframe.modules.operators import ActorCriticOperator, ActorCriticWrapper, ActorValueOperator
from qframe.modules.q_value import QValueActor, QValueModule
from qframe.modules.safe import SafeModule, SafeSequential

__all__ = [
    "MLP", "Actor", "ActorCriticOperator", "ActorCriticWrapper", "ActorValueOperator", "Boltzmann", "Bootstrapped",
    "CategoricalHead", "ConvNet", "ConvTrunk", "DistributionalDQNnet", "DistributionalQValueActor",
    "DistributionalQValueHook", "DistributionalQValueModule", "DuelingCnnDQNet", "DuelingMlpDQNet", "EGreedyLadder",
    "EGreedyModule", "EZGreedy", "EncodedTrunk", "EnsembleQNet", "Exploration", "ExplorationType",
    "ExponentialSchedule", "FullyParameterizedQuantileHead", "Greedy", "HLGaussHead", "Head", "ImpalaTrunk",
    "ImplicitQuantileHead", "LinearSchedule", "MLPTrunk", "NoisyGreedy", "NoisyLinear", "NormalParamExtractor",
    "Prediction", "ProbabilisticActor", "QNet", "QValueActor", "QValueHook", "QValueModule", "QuantileHead",
    "SafeModule", "SafeSequential", "ScalarHead", "SharedTrunk", "TanhNormal", "Trunk", "ValueOperator",
    "make_encoder", "set_exploration_type",
]
