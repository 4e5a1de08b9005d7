"""Networks: trunks, encoders, and the Q-networks that a config chooses from."""

from qframe.networks.conv import ConvNet
from qframe.networks.encoders import EncodedTrunk, make_encoder
from qframe.networks.ensemble import EnsembleQNet
from qframe.networks.impala import ImpalaTrunk
from qframe.networks.memory import Memory, no_memory
from qframe.networks.mlp import MLP
from qframe.networks.noisy import NoisyLinear
from qframe.networks.q_net import QNet
from qframe.networks.recurrent_cells import GRU, LSTM
from qframe.networks.shared_trunk import SharedTrunk
from qframe.networks.trunks import ConvTrunk, MLPTrunk, Trunk

__all__ = [
    "GRU", "LSTM", "MLP", "ConvNet", "ConvTrunk", "EncodedTrunk", "EnsembleQNet", "ImpalaTrunk", "MLPTrunk", "Memory",
    "NoisyLinear", "QNet", "SharedTrunk", "Trunk", "make_encoder", "no_memory",
]
