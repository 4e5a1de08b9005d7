"""Oracle of what runs along with learning: target networks, schedules, priorities, ε-greedy probabilities."""

import numpy as np


def soft_update(target, online, tau):
    """``θ⁻ ← (1 − τ) θ⁻ + τ θ``."""
    return (1 - tau) * target + tau * online


def linear(start, end, frames, frame):
    """A straight line, then its end."""
    return end if frame >= frames else (start * (frames - frame) + end * frame) / frames


def exponential(start, end, frames, frame):
    """A straight line between the logarithms, then its end."""
    return float(np.exp(linear(np.log(start), np.log(end), frames, frame)))


def epsilon_greedy(greedy, legal, epsilon):
    """Probabilities of one row's actions: ε shared by the legal ones, the rest for the greedy one."""
    prob = epsilon * np.asarray(legal, float) / np.sum(legal)
    prob[greedy] += 1 - epsilon
    return prob


class Priorities:
    """Proportional priorities of a ring of rows, as a list: ``p = (|δ| + ε)^α``."""

    def __init__(self, capacity, alpha, epsilon):
        self.capacity, self.alpha, self.epsilon = capacity, alpha, epsilon
        self.rows, self.count, self.largest = [0.0] * capacity, 0, 1.0

    def store(self, count):
        for _ in range(count):
            self.rows[self.count % self.capacity] = (self.largest + self.epsilon) ** self.alpha
            self.count += 1

    def update(self, index, error):
        for row, e in zip(index, error, strict=True):
            self.rows[row] = (abs(e) + self.epsilon) ** self.alpha
            self.largest = max(self.largest, abs(e))

    def weights(self, index, beta):
        """``(N · P_i)^−β`` over the batch's largest."""
        filled, total = min(self.count, self.capacity), sum(self.rows)
        raw = [(filled * self.rows[row] / total) ** -beta for row in index]
        return [w / max(raw) for w in raw]
