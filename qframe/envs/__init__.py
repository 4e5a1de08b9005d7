"""Environments: made by name, stepped as streams of true transitions."""

from qframe.envs.episodes import Episodes, SeededEpisodes, SelfResettingEpisodes, Step
from qframe.envs.make import GymnasiumEnvs
from qframe.envs.seeding import derive_seed

__all__ = ["Episodes", "GymnasiumEnvs", "SeededEpisodes", "SelfResettingEpisodes", "Step", "derive_seed"]
