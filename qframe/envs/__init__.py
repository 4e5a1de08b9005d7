"""Environments: made by name, stepped as streams of true transitions."""

from qframe.envs.atari import AtariEnvs, AtariEpisodes
from qframe.envs.episodes import SeededEpisodes
from qframe.envs.factory import Envs
from qframe.envs.make import GymnasiumEnvs
from qframe.envs.masks import ActionMasks
from qframe.envs.minatar import MinAtarEnvs, MinAtarGame
from qframe.envs.seeding import derive_seed
from qframe.envs.self_resetting import SelfResettingEpisodes
from qframe.envs.streams import Episodes, FaultyEnvironment, Observation, Start, Step
from qframe.envs.wrappers import ChannelsFirst, SymbolicGrid

__all__ = [
    "ActionMasks", "AtariEnvs", "AtariEpisodes", "ChannelsFirst", "Envs", "Episodes", "FaultyEnvironment",
    "GymnasiumEnvs", "MinAtarEnvs", "MinAtarGame", "Observation", "SeededEpisodes", "SelfResettingEpisodes", "Start",
    "Step", "SymbolicGrid", "derive_seed",
]
