"""Environments: made by name, stepped as streams of true transitions."""

from qframe.envs.episodes import Episodes, SeededEpisodes, SelfResettingEpisodes, Step, derive_seed
from qframe.envs.make import GymnasiumEnvs

__all__ = ["Episodes", "GymnasiumEnvs", "SeededEpisodes", "SelfResettingEpisodes", "Step", "derive_seed"]
