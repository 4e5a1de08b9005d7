"""Environments: made by name, stepped as streams of true transitions."""

from qframe.envs.atari import AtariEnvs, AtariEpisodes
from qframe.envs.episodes import Episodes, FaultyEnvironment, Observation, SeededEpisodes, Start, Step, derive_seed
from qframe.envs.make import GymnasiumEnvs
from qframe.envs.masks import ActionMasks
from qframe.envs.self_resetting import SelfResettingEpisodes

__all__ = [
    "ActionMasks", "AtariEnvs", "AtariEpisodes", "Episodes", "FaultyEnvironment", "GymnasiumEnvs", "Observation",
    "SeededEpisodes", "SelfResettingEpisodes", "Start", "Step", "derive_seed",
]
