"""Every head by loops, for single transitions, and the losses and batches that it is compared on."""

import math

import numpy as np
import torch
from tensordict import TensorDict

from qframe.actions import Categorical
from qframe.networks import MLPTrunk, QNet, SharedTrunk
from qframe.objectives import DQNLoss
from tests.heads.common import HEADS

GAMMA, ACTIONS, B, T = 0.9, 3, 4, 3
SUPPORT = np.linspace(-2, 2, 5)
MEANS = ("scalar", "hl_gauss")
NETWORKS = {"q_net": QNet, "shared_trunk": SharedTrunk}


def batch_of(*shape, spec=None, dtype=torch.float32):
    g = torch.Generator().manual_seed(1)
    done = torch.rand(*shape, 1, generator=g) < 0.3
    truncated = done & (torch.rand(*shape, 1, generator=g) < 0.5)
    index = torch.randint(ACTIONS, shape, generator=g)
    observation = torch.randn(2, *shape, 2, generator=g, dtype=torch.float64).to(dtype)
    following = {
        "observation": observation[1],
        "reward": 3 * torch.randn(*shape, 1, generator=g).to(dtype),
        "terminated": done & ~truncated,
        "done": done,
        "action_mask": torch.rand(*shape, ACTIONS, generator=g) < 0.7,
    }
    action = index if spec is None else torch.nn.functional.one_hot(index, ACTIONS)
    return TensorDict({"observation": observation[0], "action": action, "next": following}, shape)


def built(head, *, network="q_net", transform="none", double=False, spec=None, **options):
    torch.manual_seed(0)
    net = NETWORKS[network](
        MLPTrunk((2,), num_cells=[8]), lambda f, a: HEADS[head](f, a, transform=transform),
        action_space=spec or Categorical(3),
    )
    loss = DQNLoss(net, delay_value=True, double_dqn=double, gamma=GAMMA, **options)
    with torch.no_grad():
        for parameter in loss.target_value_network.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return loss


def h(x):
    return np.sign(x) * (np.sqrt(np.abs(x) + 1) - 1) + 1e-3 * x


def h_inverse(x):
    root = (np.sqrt(1 + 4e-3 * (np.abs(x) + 1 + 1e-3)) - 1) / 2e-3
    return np.sign(x) * (root**2 - 1)


TRANSFORM = {"none": (lambda x: x, lambda x: x), "h": (h, h_inverse)}


def softmax(x):
    e = np.exp(x - x.max())
    return e / e.sum()


class Oracle:
    """A head by loops: laws of returns, targets and losses of single transitions."""

    def __init__(self, head, transform):
        self.head, (self.forward, self.inverse) = head, TRANSFORM[transform]

    def law(self, out, taus):
        """Atoms in units of the return, and masses."""
        if self.head in ("scalar", "hl_gauss"):
            mean = out[0] if self.head == "scalar" else SUPPORT @ softmax(out)
            return self.inverse(np.array([mean])), np.ones(1)
        if self.head == "categorical":
            return self.inverse(SUPPORT), softmax(out)
        mass = np.full(len(out), 1 / len(out))
        if self.head == "fully_parameterized_quantile":
            out, mass = out[: len(taus) - 1], np.diff(taus)
        return self.inverse(out), mass

    def value(self, out, taus):
        return np.array([np.dot(*self.law(row, taus)) for row in out])

    def loss(self, out, taus, location, mass):
        """The loss of a prediction, and its td_error, for a target law of returns."""
        if self.head in MEANS:
            location, mass = np.array([np.dot(location, mass)]), np.ones(1)
        location = self.forward(location)
        if self.head in ("categorical", "hl_gauss"):
            target = self.kernel(location, mass) if self.head == "categorical" else self.histogram(location[0])
            return -target @ np.log(softmax(out)), (target - softmax(out)) @ SUPPORT
        goal = np.dot(location, mass)
        if self.head == "scalar":
            return (goal - out[0]) ** 2, goal - out[0]
        widths = np.full(len(out), 1 / len(out))
        if self.head == "quantile":
            taus = (np.arange(len(out)) + 0.5) / len(out)
        if self.head == "fully_parameterized_quantile":
            out, widths, taus = out[: len(taus) - 1], np.diff(taus), (taus[1:] + taus[:-1]) / 2
        total = 0.0
        for q, tau in zip(out, taus, strict=True):
            for z, p in zip(location, mass, strict=True):
                u = abs(z - q)
                total += p * abs(tau - (z < q)) * (0.5 * u * u if u <= 1 else u - 0.5)
        return total, goal - widths @ out

    @staticmethod
    def kernel(location, mass):
        return np.array([(mass * np.clip(1 - np.abs(np.clip(location, -2, 2) - z), 0, 1)).sum() for z in SUPPORT])

    @staticmethod
    def histogram(mean):
        mean = min(max(mean, -2.0), 2.0)
        below = [math.erf((edge - mean) / (0.75 * math.sqrt(2))) for edge in np.linspace(-2.5, 2.5, 6)]
        return np.diff(below) / (below[-1] - below[0])


def predicted(network, observation, noise):
    """Outputs ``[B, A, N]`` and levels ``[B, N]`` of a pass, as NumPy arrays."""
    prediction = network.predict(observation, None if noise is None else noise.taus)
    taus = prediction.taus
    levels = [None] * len(observation) if taus is None else taus.detach().squeeze(-2).expand(len(observation), -1)
    return prediction.out.detach().numpy(), [None if row is None else row.numpy() for row in levels]


def chosen(values, mask):
    return int(np.where(mask, values, -np.inf).argmax()) if mask.any() else 0
