"""The n-step fold: from single steps to transitions that span up to n steps of one episode."""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from qframe.replay.rows import (
    DISCOUNT,
    DONE,
    ENV,
    REWARD,
    STEPS,
    TERMINATED,
    TRUNCATED,
    Rows,
    check_num_envs,
    chosen_envs,
    take_span,
)
from qframe.replay.storage import TensorStorage

FLAGS = {TERMINATED, TRUNCATED, DONE}


class NStepFold:
    """Folds steps into n-step transitions, a window per environment.

    A transition starts at a step and spans the k ≤ n steps up to the n-th or to the episode's end, whichever comes
    first. It holds the start's observation, action and other keys, the reward ``Σ_{i<k} γⁱ r_i``, and everything
    else under "next" from its last step; ("next", "discount") is ``γᵏ``, 0 where that step terminated, and
    "steps_to_next_obs" is k. See "Learning to Predict by the Methods of Temporal Differences", Sutton, 1988, and
    "Rainbow: Combining Improvements in Deep Reinforcement Learning", Hessel et al., 2018, section "Multi-step
    learning".

    Invariants:
        - Every step starts exactly one transition, none of which spans two episodes (an episode ends where it is
          terminated or truncated) or two environments.
        - They come in the order of the steps that complete them; those completed by one step, oldest first.
        - However the steps are cut into calls, the same transitions come in the same order.
        - Rewards are added in float64, in time order, and rounded once.

    Args:
        n_step: n ≥ 1.
        gamma: γ in ``[0, 1]``, per step.
        num_envs: number of streams, those of rows ``env`` in ``0 … num_envs − 1``.
        device: device of the rows.

    Raises:
        ValueError: an argument is out of its range.
    """

    def __init__(self, n_step: int, gamma: float, *, num_envs: int = 1, device: torch.device | str = "cpu") -> None:
        if n_step < 1:
            raise ValueError(f"expected n_step of at least 1, got {n_step}; 1 is the plain case")
        check_gamma(gamma)
        check_num_envs(num_envs)
        self.n_step, self.gamma, self.num_envs = n_step, gamma, num_envs
        self._powers = np.array([gamma**i for i in range(n_step + 1)])
        self._order = np.arange(n_step)
        self._oldest = np.zeros(num_envs, np.int64)  # slot of the oldest open start
        self._count = np.zeros(num_envs, np.int64)  # open starts
        self._returns = np.zeros((num_envs, n_step, 1))  # reward so far of the start in each slot
        self._starts = TensorStorage(num_envs * n_step, device)  # entries of the starts, row env · n + slot
        self._last = TensorStorage(num_envs, device)  # entries under "next" of the last step

    def push(self, rows: Rows) -> Rows:
        """The transitions that ``rows`` complete, possibly none.

        Args:
            rows: steps ``[k, …]``, those of one environment in time order, checked by a ``RowSchema``.
        """
        if self.n_step == 1:
            return one_step(rows, self.gamma)
        env = rows[ENV].numpy(force=True)
        if (env[1:] > env[:-1]).all():  # one step of each, as collectors return
            return self._push_distinct(env, rows)
        parts = [
            self._push_distinct(env[start:stop], take_span(rows, start, stop)) for start, stop in distinct_runs(env)
        ]
        return parts[0] if len(parts) == 1 else {key: torch.cat([part[key] for part in parts]) for key in parts[0]}

    def flush(self, env: int | None = None) -> Rows:
        """The open starts of one environment, or of all, truncated after the last step.

        Each has k < n steps and bootstraps with discount γᵏ. If none is open, the result is empty.
        """
        envs = chosen_envs(env, self.num_envs)
        envs = envs[self._count[envs] > 0]
        if not len(envs):
            return {}
        following = self._last.read(self._tensor(envs))
        cut = torch.ones(len(envs), 1, dtype=torch.bool, device=self._starts.device)
        following |= {TERMINATED: ~cut, TRUNCATED: cut, DONE: cut}
        return self._emit(envs, self._count[envs], following)

    def state_dict(self) -> dict:
        """The open starts of every environment, as tensors."""
        env, nth = (self._order < self._count[:, None]).nonzero()
        return {
            "oldest": torch.tensor(self._oldest),
            "count": torch.tensor(self._count),
            "returns": torch.tensor(self._returns),
            "starts": self._starts.read(self._tensor(self._row(env, nth))),
            "last": self._last.read(self._tensor(self._count.nonzero()[0])),
        }

    def load_state_dict(self, state: dict) -> None:
        """Restore what ``state_dict`` returned."""
        self._oldest, self._count, self._returns = (
            state[name].numpy(force=True).copy() for name in ("oldest", "count", "returns")
        )
        self._returns = self._returns.reshape(self.num_envs, self.n_step, -1)
        env, nth = (self._order < self._count[:, None]).nonzero()
        self._starts.restore(self._tensor(self._row(env, nth)), state["starts"])
        self._last.restore(self._tensor(self._count.nonzero()[0]), state["last"])

    def _push_distinct(self, env: np.ndarray, rows: Rows) -> Rows:
        """Fold rows of environments that are all different, ``env`` ``[k]``."""
        starts = {key: leaf for key, leaf in rows.items() if key[0] != "next" and key != ENV}
        following = {key: leaf for key, leaf in rows.items() if key[0] == "next"}
        source = self._row(env, self._count[env])
        self._starts.write(self._tensor(source), starts)
        self._last.write(self._tensor(env), {key: leaf for key, leaf in following.items() if key not in FLAGS})
        self._count[env] += 1
        self._add_reward(env, source % self.n_step, rows[REWARD].numpy(force=True))
        ended = (rows[TERMINATED] | rows[TRUNCATED]).numpy(force=True)[:, 0]
        count = self._count[env]
        return self._emit(env, np.where(ended, count, count == self.n_step), following)

    def _add_reward(self, env: np.ndarray, slot: np.ndarray, reward: np.ndarray) -> None:
        """Add ``reward`` ``[k, R]``, of steps in ``slot`` ``[k]``, to the open starts: γ to the power of their age."""
        if self._returns.shape[-1] != reward.shape[-1]:
            self._returns = np.zeros((self.num_envs, self.n_step, reward.shape[-1]))
        self._returns[env, slot] = 0.0
        age = (slot[:, None] - self._order) % self.n_step  # [k, n]
        self._returns[env] += reward[:, None] * self._powers[age][..., None]

    def _emit(self, env: np.ndarray, leaving: np.ndarray, following: Rows) -> Rows:
        """Close the ``leaving`` ``[k]`` oldest starts of ``env`` ``[k]``; they bootstrap on rows ``following``."""
        row, nth = (self._order < leaving[:, None]).nonzero()  # [m], row by row, oldest first
        source = self._row(env[row], nth)
        steps = self._count[env[row]] - nth
        self._oldest[env] = (self._oldest[env] + leaving) % self.n_step
        self._count[env] -= leaving
        taken = self._tensor(row)
        emitted = self._starts.read(self._tensor(source))
        emitted |= {key: leaf.index_select(0, taken) for key, leaf in following.items()}
        like = emitted[REWARD]
        emitted[REWARD] = torch.from_numpy(self._returns.reshape(-1, like.shape[-1])[source]).to(like)
        discount = torch.from_numpy(self._powers[steps][:, None]).to(like)
        emitted[DISCOUNT] = torch.where(emitted[TERMINATED], 0.0, discount)
        emitted[STEPS] = self._tensor(steps[:, None])
        return emitted

    def _row(self, env: np.ndarray, nth: np.ndarray) -> np.ndarray:
        """Rows ``[k]`` of the ``nth`` oldest open starts of ``env``."""
        return env * self.n_step + (self._oldest[env] + nth) % self.n_step

    def _tensor(self, index: np.ndarray) -> Tensor:
        return torch.from_numpy(index).to(self._starts.device)


def one_step(rows: Rows, gamma: float) -> Rows:
    """Single steps as transitions: discount ``γ · (1 − terminated)``, one step to the next observation."""
    reward, terminated = rows[REWARD], rows[TERMINATED]
    folded = {key: leaf for key, leaf in rows.items() if key != ENV}
    folded[DISCOUNT] = torch.full_like(reward[:, :1], gamma).masked_fill_(terminated, 0.0)
    folded[STEPS] = torch.ones_like(terminated, dtype=torch.int64)
    return folded


def distinct_runs(env: np.ndarray) -> Iterator[tuple[int, int]]:
    """Start and stop of the longest runs of rows in which no environment appears twice.

    >>> list(distinct_runs(np.array([0, 1, 0, 0])))
    [(0, 2), (2, 3), (3, 4)]
    """
    if (np.diff(env) > 0).all():  # one step of each, as collectors return
        yield 0, len(env)
        return
    start, seen = 0, set()
    for row, stream in enumerate(env.tolist()):
        if stream in seen:
            yield start, row
            start, seen = row, set()
        seen.add(stream)
    yield start, len(env)


def check_gamma(gamma: float) -> None:
    """Raise ValueError unless γ is in ``[0, 1]``."""
    if not 0.0 <= gamma <= 1.0:
        raise ValueError(f"expected gamma in [0, 1], got {gamma}; 0.99 is common")
