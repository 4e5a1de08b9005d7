"""A random tabular MDP with masks and terminations, its optimal values by value iteration, and its transitions."""

from dataclasses import dataclass
from itertools import product

import numpy as np

from tests.oracles import actions


@dataclass
class MDP:
    """S states, A actions, K equally likely outcomes of each: next state, reward, whether the episode ends."""

    following: np.ndarray  # [S, A, K]
    reward: np.ndarray  # [S, A, K]
    terminated: np.ndarray  # [S, A, K]
    legal: np.ndarray  # [S, A]
    gamma: float

    @property
    def shape(self):
        return self.following.shape

    def optimal(self):
        """Q* ``[S, A]`` by value iteration; meaningless where an action is illegal."""
        return self.fixed_point(lambda q: np.where(self.legal, q, -np.inf).max(1))

    def fixed_point(self, state_value, bonus=lambda q: 0.0):
        """``q = r + bonus(q) + γ · state_value(q)(s′)``, iterated from 0."""
        q = np.zeros(self.legal.shape)
        for _ in range(1000):
            v = state_value(q)
            q = (self.reward + self.gamma * np.where(self.terminated, 0.0, v[self.following])).mean(-1) + bonus(q)
        return q

    def boltzmann(self, q, temperature):
        """Probabilities and their logarithms ``[S, A]``, 0 where illegal."""
        rows = [actions.boltzmann(q[s], temperature, self.legal[s]) for s in range(len(q))]
        return tuple(np.array(column) for column in zip(*rows, strict=True))

    def transitions(self):
        """Every legal (state, action, outcome)."""
        pairs = zip(*np.nonzero(self.legal), strict=True)
        return [self._step(s, a, k) for (s, a), k in product(pairs, range(self.shape[-1]))]

    def slices(self, length, later):
        """Every path of ``length`` steps from every state, as lists of steps.

        ``later`` maps a state to the actions tried after the first step. A path goes on from the next state even
        past a termination: returns must be cut there.
        """
        paths = [[step] for step in self.transitions()]
        for _ in range(length - 1):
            grown = []
            for path in paths:
                s = path[-1]["next"]
                grown += [[*path, self._step(s, a, k)] for a, k in product(later(s), range(self.shape[-1]))]
            paths = grown
        return paths

    def _step(self, s, a, k):
        place = s, a, k
        return {
            "state": int(s), "action": int(a), "next": int(self.following[place]), "reward": float(self.reward[place]),
            "terminated": bool(self.terminated[place]),
        }  # fmt: skip


def random_mdp(num_states, num_actions, outcomes, gamma, seed):
    """An MDP whose every state has a legal action; a third of the others is illegal, a tenth of the outcomes ends."""
    rng = np.random.default_rng(seed)
    shape = num_states, num_actions, outcomes
    legal = rng.random(shape[:2]) < 0.67
    legal[np.arange(num_states), rng.integers(num_actions, size=num_states)] = True
    return MDP(
        following=rng.integers(num_states, size=shape),
        reward=rng.uniform(-1, 1, shape),
        terminated=rng.random(shape) < 0.1,
        legal=legal,
        gamma=gamma,
    )
