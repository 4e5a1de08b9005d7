"""Environments: made by name, stepped as streams of transitions."""

from qframe.envs.atari import AtariEnvs, AtariEpisodes
from qframe.envs.deep_sea import DeepSea
from qframe.envs.episodes import SeededEpisodes, SelfResettingEpisodes
from qframe.envs.gymnasium import GymnasiumEnvs
from qframe.envs.masks import ActionMasks
from qframe.envs.memory_tasks import MaskVelocity, MemoryChain, TMaze
from qframe.envs.minatar import MinAtarEnvs, MinAtarGame
from qframe.envs.protocol import Envs, Episodes, FaultyEnvironment, Observation, Start, Step
from qframe.envs.seeding import derive_seed
from qframe.envs.wrappers import BoundAction, ChannelsFirst, Entry, Pixels, SymbolicGrid, WeighReward

__all__ = [
    "ActionMasks", "AtariEnvs", "AtariEpisodes", "BoundAction", "ChannelsFirst", "DeepSea", "Entry", "Envs",
    "Episodes", "FaultyEnvironment", "GymnasiumEnvs", "MaskVelocity", "MemoryChain", "MinAtarEnvs", "MinAtarGame",
    "Observation", "Pixels", "SeededEpisodes", "SelfResettingEpisodes", "Start", "Step", "SymbolicGrid", "TMaze",
    "WeighReward", "derive_seed",
]  # fmt: skip
