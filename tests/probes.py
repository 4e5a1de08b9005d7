"""Tiny environments with known values, one per thing that can go wrong."""

import gymnasium as gym
import numpy as np
from gymnasium import spaces


class Probe(gym.Env):
    """A chain of states 0, 1, …; every step gives ``reward(state)`` and the episode ends after ``length`` steps."""

    def __init__(self, length=1, terminates=True, start_reward=1.0, end_reward=1.0):
        self.observation_space = spaces.Box(0.0, 1.0, (1,), np.float32)
        self.action_space = spaces.Discrete(2)
        self.length, self.terminates = length, terminates
        self.start_reward, self.end_reward = start_reward, end_reward

    def _observation(self):
        return np.array([self.step_number / max(1, self.length)], np.float32)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.step_number = 0
        return self._observation(), {}

    def step(self, action):
        self.step_number += 1
        is_over = self.step_number == self.length
        reward = self.end_reward if is_over else self.start_reward
        return self._observation(), reward, is_over and self.terminates, is_over and not self.terminates, {}


class Endless(Probe):
    """A constant observation, reward 1, cut after every step by a limit that is no end: worth 1 / (1 − γ)."""

    def _observation(self):
        return np.zeros(1, np.float32)


class Masked(Probe):
    """Says which actions are legal."""

    def reset(self, *, seed=None, options=None):
        observation, _ = super().reset(seed=seed)
        return observation, {"action_mask": np.array([True, False])}


class Bandit(Probe):
    """One step; action 1 pays 1, action 0 pays −1."""

    def step(self, action):
        observation, _, terminated, truncated, info = super().step(action)
        return observation, 1.0 if action == 1 else -1.0, terminated, truncated, info


class Switches(gym.Env):
    """Every step shows what each switch should be, and pays the share that is right; 4 steps an episode.

    ``sizes`` None: MultiBinary, else MultiDiscrete.
    """

    def __init__(self, num_switches=3, sizes=None):
        self.sizes = np.array(sizes or [2] * num_switches)
        self.observation_space = spaces.Box(0.0, 1.0, (int(self.sizes.sum()),), np.float32)
        self.first = self.sizes if sizes else 0
        self.action_space = spaces.MultiDiscrete(sizes, start=sizes) if sizes else spaces.MultiBinary(num_switches)

    def _observation(self):
        self.wanted = self.np_random.integers(self.sizes)
        return np.concatenate([np.eye(n, dtype=np.float32)[i] for n, i in zip(self.sizes, self.wanted, strict=True)])

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.step_number = 0
        return self._observation(), {}

    def step(self, action):
        assert self.action_space.contains(action), action
        share = float(np.mean(action == self.wanted + self.first))
        self.step_number += 1
        return self._observation(), share, self.step_number == 4, False, {}


class Counter(gym.Env):
    """Observations that number the episode's seed and step, so that a transition tells where it comes from.

    Episodes have 3 to 6 steps by their seed, and end by termination or truncation in turn.
    """

    def __init__(self):
        self.observation_space = spaces.Box(0, np.inf, (2,), np.float32)
        self.action_space = spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.number = int(self.np_random.integers(1, 10_000))
        self.length, self.step_number = 3 + self.number % 4, 0
        return np.array([self.number, 0], np.float32), {}

    def step(self, action):
        self.step_number += 1
        over = self.step_number == self.length
        by_limit = self.number % 2 == 0
        observation = np.array([self.number, self.step_number], np.float32)
        return observation, float(self.step_number), over and not by_limit, over and by_limit, {}


def register():
    """Make the probes known to Gymnasium, once."""
    for name, entry in {
        "Terminating": (Probe, {}),
        "Endless": (Endless, {"terminates": False}),
        "TwoStep": (Probe, {"length": 2, "start_reward": 0.0}),
        "Masked": (Masked, {}),
        "Bandit": (Bandit, {}),
        "Counter": (Counter, {}),
        "Switches": (Switches, {}),
        "Dials": (Switches, {"sizes": [2, 4]}),
    }.items():
        id = f"qframe-test/{name}-v0"
        if id not in gym.registry:
            gym.register(id, entry_point=entry[0], kwargs=entry[1])
