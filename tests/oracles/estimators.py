"""Oracle of value estimators along one slice: the target law of every step, each by its own definition."""

import numpy as np

from tests.oracles import actions, returns


def soft_law(laws, values, legal, temperature):
    """``Σ_a π(a) · (z_a − τ log π(a))`` as a list of (location, mass)."""
    prob, log_prob = actions.boltzmann(values, temperature, legal)
    return [
        (z - temperature * log_prob[a], p * prob[a]) for a in range(len(laws)) if prob[a] > 0 for z, p in laws[a]
    ]


def soft_target(reward, discount, laws, values, legal, temperature):
    """One step of soft Q-learning."""
    if discount == 0:
        return [(reward, 1.0)]
    return [(reward + discount * z, p) for z, p in soft_law(laws, values, legal, temperature)]


def munchausen_bonus(values, legal, action, alpha, temperature, clip):
    """``α · clip(τ log π(a|s), l₀, 0)``."""
    _, log_prob = actions.boltzmann(values, temperature, legal)
    return alpha * max(clip, min(0.0, temperature * log_prob[action]))


def traces(kind, lambda_, values, legal, action, behaviour, done, temperature=None):
    """c of the step after each of T: 0 at an episode's end, and at the slice's end, where none is read."""
    found = []
    for t in range(len(action)):
        if t + 1 == len(action) or done[t]:
            found.append(0.0)
            continue
        taken, row, ok = action[t + 1], values[t], legal[t]
        is_greedy = ok[taken] and row[taken] == max(v for v, o in zip(row, ok, strict=True) if o)
        if kind == "peng":
            share = 1.0
        elif kind == "watkins":
            share = float(is_greedy)
        else:
            target = float(is_greedy) if temperature is None else actions.boltzmann(row, temperature, ok)[0][taken]
            share = min(1.0, target / behaviour[t + 1])
        found.append(lambda_ * share)
    return found


def lambda_target(reward, discount, laws, values, legal, trace):
    """The law of the λ-return of every step, bootstrapping on the greedy action of ``values``."""
    chosen = [laws[t][actions.best(values[t], legal[t])] for t in range(len(reward))]
    return [returns.lambda_law(reward, discount, chosen, trace, t) for t in range(len(reward))]


def soft_retrace(reward, discount, q, values, legal, action, trace, temperature):
    """The mean of Retrace's return with π the Boltzmann policy of ``values``; q evaluates, ``[T, A]``."""
    value, baseline = [], []
    for t in range(len(reward)):
        prob, _ = actions.boltzmann(values[t], temperature, legal[t])
        value.append(float(np.dot(prob, q[t])))
        baseline.append(float(q[t][action[t + 1]]) if t + 1 < len(reward) else 0.0)
    return [returns.lambda_return(reward, discount, value, trace, baseline, t) for t in range(len(reward))]
