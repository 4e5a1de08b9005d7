"""Oracle of returns: sums written out, λ-returns and mixtures by their recursive definitions."""

import numpy as np


def n_step(reward, discount, value):
    """``Σ_k (Π_{i<k} γ_i) r_k + (Π γ) v`` of one trajectory; nothing counts after a discount of 0."""
    total, product = 0.0, 1.0
    for r, g in zip(reward, discount, strict=True):
        total += product * r
        if g == 0:
            return total
        product *= g
    return total + product * value


def lambda_return(reward, discount, value, trace, baseline=None, t=0):
    """``G_t = r_t + γ_t [v_{t+1} + c_{t+1} (G_{t+1} − b_{t+1})]`` of one trajectory; v = b where no b is given."""
    baseline = value if baseline is None else baseline
    if discount[t] == 0:
        return reward[t]
    ahead = value[t]
    if t + 1 < len(reward) and trace[t] != 0:
        following = lambda_return(reward, discount, value, trace, baseline, t + 1)
        ahead = ahead + trace[t] * (following - baseline[t])
    return reward[t] + discount[t] * ahead


def lambda_law(reward, discount, laws, trace, t=0):
    """The law of the λ-return from step t: a list of (location, mass); ``laws[t]`` is that of the state after t."""
    if discount[t] == 0:
        return [(reward[t], 1.0)]
    c = trace[t] if t + 1 < len(reward) else 0.0
    mixed = [(z, p * (1 - c)) for z, p in laws[t]]
    if c > 0:
        mixed += [(z, p * c) for z, p in lambda_law(reward, discount, laws, trace, t + 1)]
    return [(reward[t] + discount[t] * z, p) for z, p in mixed]


def fold(steps, n, gamma):
    """The n-step transitions of one stream, a list per start: (start, Σ γᵏ r, γᵏ or 0, k, last step).

    ``steps`` are (reward, terminated, truncated); starts whose window is still open are left out.
    """
    found = []
    for start in range(len(steps)):
        total = 0.0
        for k in range(n):
            if start + k >= len(steps):
                break
            reward, terminated, truncated = steps[start + k]
            total += gamma**k * reward
            if terminated or truncated or k == n - 1:
                found.append((start, total, 0.0 if terminated else gamma ** (k + 1), k + 1, start + k))
                break
    return found


def mean(law):
    """The mean of a list of (location, mass)."""
    return float(np.sum([z * p for z, p in law]))
