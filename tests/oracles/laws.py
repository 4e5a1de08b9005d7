"""Oracle of laws of returns: projection by a triangular kernel, quantile losses and cross-entropy by loops."""

import numpy as np


def project(location, mass, support):
    """Each atom of a support gathers ``Σ_j p_j · max(0, 1 − |z_j − s_i| / Δ)``, z clipped to the support."""
    support = np.asarray(support, float)
    inside = np.clip(np.asarray(location, float), support[0], support[-1])
    distance = np.abs(inside[None, :] - support[:, None]) / (support[1] - support[0])
    return (np.maximum(0.0, 1.0 - distance) * np.asarray(mass, float)[None, :]).sum(1)


def log_softmax(logits):
    """Over the last dimension."""
    shifted = logits - logits.max(-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))


def cross_entropy(logits, probs):
    """``−Σ p_i log q_i`` of one pair."""
    logs = log_softmax(np.asarray(logits, float))
    return -sum(p * log for p, log in zip(probs, logs, strict=True))


def huber(error, threshold):
    """``½e²`` up to the threshold κ, then the tangent."""
    size = abs(error)
    return 0.5 * size**2 if size <= threshold else threshold * size - 0.5 * threshold**2


def quantile_huber(quantiles, taus, location, mass, threshold):
    """The quantile Huber loss, every pair of a prediction and a target atom in turn."""
    total = 0.0
    for quantile, tau in zip(quantiles, taus, strict=True):
        for z, p in zip(location, mass, strict=True):
            error = z - quantile
            size = abs(error) if threshold == 0 else huber(error, threshold) / threshold
            total += p * (tau if error >= 0 else 1 - tau) * size
    return total
