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


class Bandit(Probe):
    """One step; action 1 pays 1, action 0 pays −1."""

    def step(self, action):
        observation, _, terminated, truncated, info = super().step(action)
        return observation, 1.0 if action == 1 else -1.0, terminated, truncated, info


class RareReward(Probe):
    """One step; action 0 always pays 1, action 1 pays 16 in one case of ten: 1.6 in the mean."""

    def step(self, action):
        observation, _, terminated, truncated, info = super().step(action)
        return observation, 1.0 if action == 0 else 16.0 * (self.np_random.random() < 0.1), terminated, truncated, info


class Corridor(gym.Env):
    """Cells in a row: action 1 goes right to the goal, action 0 left; every step pays ``step``, the last one ``goal``.

    Cut after 30 steps.
    """

    def __init__(self, cells=5, step=-1.0, goal=0.0):
        self.cells, self.pays, self.goal = cells, step, goal
        self.observation_space = spaces.Box(0.0, 1.0, (cells,), np.float32)
        self.action_space = spaces.Discrete(2)

    def _observation(self):
        return np.eye(self.cells, dtype=np.float32)[self.cell]

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.cell = self.step_number = 0
        return self._observation(), {}

    def step(self, action):
        self.step_number += 1
        self.cell = max(0, self.cell + (1 if action == 1 else -1))
        is_over = self.cell == self.cells - 1
        reward = self.goal if is_over else self.pays
        return self._observation(), reward, is_over, self.step_number == 30 and not is_over, {}


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


class Legal(gym.Env):
    """A spy: raises on an illegal action. The reward is the regret, so that the best legal actions have the return 0.

    Args:
        convention: where the mask is: ``info``, ``key`` (of a Dict observation), ``method``, or ``none``, and then an
            illegal action costs 1 in place of raising.
        space: ``discrete``, ``multidiscrete`` or ``multibinary``.
        fault: what the mask has from step ``fault_at`` on: a name among ``_broken``.
        late: whether reset gives no mask.
    """

    SPACES = {  # noqa: RUF012
        "discrete": (spaces.Discrete(5, start=2), [5]),
        "multidiscrete": (spaces.MultiDiscrete([3, 2]), [3, 2]),
        "multibinary": (spaces.MultiBinary(2), [2, 2]),
    }

    def __init__(self, convention="info", space="discrete", fault=None, fault_at=20, late=False):
        self.action_space, self.sizes = self.SPACES[space]
        plain = spaces.Box(0.0, 1.0, (2,), np.float32)
        size = sum(self.sizes)
        self.observation_space = plain
        if convention == "key":
            self.observation_space = spaces.Dict({"observation": plain, "legal": spaces.MultiBinary(size)})
        if convention == "method":
            self.action_masks = lambda: self.mask
        self.convention, self.fault, self.fault_at, self.late = convention, fault, fault_at, late
        self.steps = 0

    def _observed(self):
        parts = [self.np_random.random(size) < 0.5 for size in self.sizes]
        for part in parts:
            part[self.np_random.integers(len(part))] = True
        self.parts = parts
        self.mask = np.concatenate(parts)
        if self.fault is not None and self.steps >= self.fault_at:
            self.mask = self._broken(self.fault)
        observation = np.array([self.step_number / 5, 1.0], np.float32)
        if self.convention == "key":
            return {"observation": observation, "legal": self.mask.astype(np.int8)}, {}
        return observation, {"action_mask": self.mask} if self.convention == "info" else {}

    def _broken(self, fault):
        size = len(self.mask)
        return {
            "all_false": np.zeros(size, bool),
            "short": np.ones(size - 1, bool),
            "float": np.full(size, 0.5),
            "not_a_number": np.full(size, np.nan),
            "two": np.full(size, 2),
            "missing": None,
            "text": "all",
        }[fault]

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.step_number = 0
        observation, info = self._observed()
        return observation, {} if self.late else info

    def step(self, action):
        index = np.reshape(np.asarray(action) - getattr(self.action_space, "start", 0), -1)
        regret = 0.0
        for part, chosen in zip(self.parts, index, strict=True):
            if not part[chosen] and self.convention != "none" and not self.late:
                raise RuntimeError(f"illegal action {action} under {self.parts}")
            regret += np.flatnonzero(part).max() - chosen if part[chosen] else 1.0
        self.step_number += 1
        self.steps += 1
        observation, info = self._observed()
        return observation, -float(regret), False, self.step_number == 5, info


class Mixed(gym.Env):
    """A nested observation; the action that pays is the one that one entry of it shows. Buffers are reused.

    Args:
        shown: the entry: ``image`` (a bright half), ``place``, ``bits``, ``pair`` or ``vector``.
    """

    def __init__(self, shown="image", length=4):
        self.observation_space = spaces.Dict(
            {
                "image": spaces.Box(0, 255, (6, 6, 1), np.uint8),
                "place": spaces.Discrete(2, start=-1),
                "rest": spaces.Tuple(
                    [
                        spaces.MultiBinary(2),
                        spaces.MultiDiscrete([3, 2], start=[0, 4]),
                        spaces.Dict({"vector": spaces.Box(-500.0, 500.0, (2, 1), np.float64)}),
                    ]
                ),
            }
        )
        self.action_space = spaces.Discrete(2)
        self.shown, self.length = shown, length
        self.image = np.zeros((6, 6, 1), np.uint8)

    def _observation(self):
        names = ("image", "place", "bits", "pair", "vector")
        bit = {name: int(self.np_random.integers(2)) for name in names}
        self.answer = bit[self.shown]
        self.image[:] = 0
        self.image[:, 3:] = 200 * bit["image"]
        vector = np.array([[400.0 + bit["vector"]], [self.step_number]])
        pair = np.array([self.step_number % 3, 4 + bit["pair"]])
        bits = np.array([bit["bits"], self.step_number % 2], np.int8)
        return {"image": self.image, "place": bit["place"] - 1, "rest": (bits, pair, {"vector": vector})}

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.step_number = 0
        return self._observation(), {}

    def step(self, action):
        reward = float(action == self.answer)
        self.step_number += 1
        return self._observation(), reward, self.step_number == self.length, False, {}


class DeepSea(gym.Env):
    """A grid of ``size`` rows: each step goes one down, and right at a small cost or left for nothing.

    A treasure of 1 lies at the bottom right: ``size`` steps right, with nothing on the way to tell that it is there.
    Which action goes right differs by cell. See "Deep Exploration via Randomized Value Functions", Osband et al.,
    2019, section 4.
    """

    def __init__(self, size=8):
        self.size = size
        self.observation_space = spaces.Box(0.0, 1.0, (size * size,), np.float32)
        self.action_space = spaces.Discrete(2)
        self.right = np.random.default_rng(size).integers(2, size=(size, size))

    def _observation(self):
        observation = np.zeros((self.size, self.size), np.float32)
        if self.row < self.size:
            observation[self.row, self.column] = 1.0
        return observation.ravel()

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.row = self.column = 0
        return self._observation(), {}

    def step(self, action):
        goes_right = action == self.right[self.row, self.column]
        found = goes_right and self.row == self.column == self.size - 1
        reward = float(found) - (0.3 / self.size if goes_right else 0.0)
        self.row, self.column = self.row + 1, min(max(self.column + (1 if goes_right else -1), 0), self.size - 1)
        return self._observation(), reward, self.row == self.size, False, {}


def register():
    """Make the probes known to Gymnasium, once."""
    for name, entry in {
        "Terminating": (Probe, {}),
        "Endless": (Endless, {"terminates": False}),
        "TwoStep": (Probe, {"length": 2, "start_reward": 0.0}),
        "Legal": (Legal, {}),
        "Mixed": (Mixed, {}),
        "Corridor-v0": (Corridor, {}),
        "Bandit": (Bandit, {}),
        "Corridor": (Corridor, {}),
        "RareReward": (RareReward, {}),
        "Counter": (Counter, {}),
        "DeepSea": (DeepSea, {"size": 10}),
        "Switches": (Switches, {}),
        "Dials": (Switches, {"sizes": [2, 4]}),
    }.items():
        id = f"qframe-test/{name}-v0"
        if id not in gym.registry:
            gym.register(id, entry_point=entry[0], kwargs=entry[1])
