"""Exploration: how the agent acts while it learns."""

from qframe.exploration.boltzmann import Boltzmann
from qframe.exploration.bootstrapped import Bootstrapped
from qframe.exploration.epsilon_greedy import EGreedyModule, ExplorationType, set_exploration_type
from qframe.exploration.ez_greedy import EZGreedy
from qframe.exploration.greedy import Greedy
from qframe.exploration.ladder import EGreedyLadder
from qframe.exploration.noisy import NoisyGreedy
from qframe.exploration.protocol import Exploration
from qframe.exploration.schedules import ExponentialSchedule, LinearSchedule

__all__ = [
    "Boltzmann", "Bootstrapped", "EGreedyLadder", "EGreedyModule", "EZGreedy", "Exploration", "ExplorationType",
    "ExponentialSchedule", "Greedy", "LinearSchedule", "NoisyGreedy", "set_exploration_type",
]
