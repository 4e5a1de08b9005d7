"""Random slices and action values for tests of estimators, and the loss's step from them to targets."""

import numpy as np
import torch

from qframe.estimators import Batch, Values
from qframe.functional.action import take
from qframe.heads import Prediction, ScalarHead

GAMMA, ACTIONS = 0.9, 3


def random_slices(shape, seed, *, masks=True, ties=True):
    """A batch ``[*B]`` of transitions whose last dimension may be read as time, and values of the states around it.

    The taken action is legal; where an episode terminated no action is legal next and the values there are NaN.
    """
    rng = np.random.default_rng(seed)
    done = rng.random(shape) < 0.3
    terminated = done & (rng.random(shape) < 0.5)
    value, target, now = (rng.integers(-2, 3, (*shape, ACTIONS)) * 1.0 for _ in range(3))
    if not ties:
        value, target, now = (rng.normal(size=(*shape, ACTIONS)) for _ in range(3))
    mask, next_mask = (rng.random((*shape, ACTIONS)) < 0.7 for _ in range(2))
    if not masks:
        mask, next_mask = np.ones_like(mask), np.ones_like(mask)
    action = rng.integers(0, ACTIONS, shape)
    np.put_along_axis(mask, action[..., None], True, -1)
    next_mask[..., :-1, :] = np.where(done[..., :-1, None], next_mask[..., :-1, :], mask[..., 1:, :])
    next_mask[~next_mask.any(-1)] = True
    next_mask[terminated] = False
    value[terminated] = target[terminated] = np.nan
    tensors = {
        "action": action,
        "reward": rng.normal(size=shape),
        "discount": np.where(terminated, 0.0, GAMMA),
        "done": done,
        "mask": mask,
        "next_mask": next_mask,
        "action_probability": rng.uniform(0.05, 1.0, shape),
    }
    nothing = torch.zeros(shape)
    batch = Batch(
        observation=nothing, next_observation=nothing, **{name: torch.tensor(x) for name, x in tensors.items()}
    )
    return batch, Values(*(torch.tensor(x) for x in (value, target, now)))


def scalar_target(estimator, batch, values):
    """The scalar head's target ``[*B]`` of an estimator, as NumPy."""
    head = ScalarHead(None, ACTIONS)
    action, backup = estimator(batch, values)
    out = values.target.unsqueeze(-1)
    bootstrap = Prediction(out if action is None else take(out, action))
    make = head.lambda_target if "time" in estimator.requires else head.target
    return make(bootstrap, backup).numpy()


def numpy_of(batch, values):
    """The entries that oracles read."""
    names = ("action", "reward", "discount", "done", "mask", "next_mask", "action_probability")
    return [*(getattr(batch, name).numpy() for name in names), *(value.numpy() for value in values)]


def softmax(x, temperature, mask):
    """π and log π over legal actions in NumPy; 0 elsewhere."""
    if not mask.any():
        return np.zeros_like(x), np.zeros_like(x)
    e = np.where(mask, np.exp((x - x[mask].max()) / temperature), 0.0)
    prob = e / e.sum()
    return prob, np.where(prob > 0, np.log(np.where(prob > 0, prob, 1.0)), 0.0)
