"""Oracle of choosing actions, one row at a time: greedy rules of five action spaces, and the soft policy."""

import math

import numpy as np


def best(value, legal):
    """The first legal action of the greatest value; NaN counts as the greatest; 0 if none is legal."""
    candidates = [i for i in range(len(value)) if legal[i]]
    for i in candidates:
        if math.isnan(value[i]):
            return i
    return max(candidates, key=lambda i: value[i]) if candidates else 0


def components(sizes):
    """Where each component of a joint action starts and ends."""
    return [(sum(sizes[:d]), sum(sizes[: d + 1])) for d in range(len(sizes))]


def decide(space, sizes, value, legal, floor):
    """The action, the written values and the chosen value of one row ``value`` ``[A]``, in float64."""
    written = [v if ok else floor for v, ok in zip(value, legal, strict=True)]
    if space == "binary":
        bits = [int(v > 0) for v in written]
        total = sum(v for v in written if v > 0)
        return bits, written, math.nan if any(map(math.isnan, written)) else total
    spans = components(sizes)
    picks = [best(value[start:end], legal[start:end]) for start, end in spans]
    parts = [written[start + pick] for (start, _), pick in zip(spans, picks, strict=True)]
    dead = any(part == floor for part in parts) and floor != 0
    chosen = floor if dead and len(parts) > 1 else sum(parts)
    hot = [int(i == pick) for (start, end), pick in zip(spans, picks, strict=True) for i in range(end - start)]
    action = {"categorical": picks[0], "multi-categorical": picks}.get(space, hot)
    return action, written, chosen


def boltzmann(value, temperature, legal):
    """Probabilities and their logarithms of ``exp(q / τ)`` over legal actions, 0 elsewhere, for one row."""
    scaled = [v / temperature for v, ok in zip(value, legal, strict=True) if ok]
    top = max(scaled)
    normaliser = top + np.log(sum(np.exp(s - top) for s in scaled))
    log_prob = [v / temperature - normaliser if ok else 0.0 for v, ok in zip(value, legal, strict=True)]
    prob = [np.exp(p) if ok else 0.0 for p, ok in zip(log_prob, legal, strict=True)]
    return prob, log_prob
