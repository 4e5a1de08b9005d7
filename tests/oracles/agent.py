"""Oracle of one Q-learning loss, end to end: linear network, head by name, target, loss and td_error."""

from dataclasses import dataclass

import numpy as np

from tests.oracles import actions, laws


@dataclass
class Head:
    """What a network's outputs ``[A, N]`` stand for: ``scalar`` with a loss, ``categorical``, or ``quantile``."""

    name: str
    loss_function: str = "l2"
    support: np.ndarray | None = None
    kappa: float = 1.0

    def law(self, out):
        if self.name == "categorical":
            return self.support, np.exp(laws.log_softmax(out))
        return out, np.full(len(out), 1 / len(out))

    def value(self, out):
        """Action values ``[A, N]`` → ``[A]``."""
        return np.array([np.dot(*self.law(row)) for row in out])

    def loss(self, out, location, mass):
        """The loss and the signed td_error of a prediction ``[N]`` and a target law."""
        if self.name == "categorical":
            probs = laws.project(location, mass, self.support)
            return laws.cross_entropy(out, probs), probs @ self.support - self.value(out[None])[0]
        error = np.dot(location, mass) - out.mean()
        if self.name == "scalar":
            size = abs(error)
            return {"l2": size**2, "l1": size, "smooth_l1": laws.huber(size, 1.0)}[self.loss_function], error
        taus = [(2 * i + 1) / (2 * len(out)) for i in range(len(out))]
        return laws.quantile_huber(out, taus, location, mass, self.kappa), error


def outputs(weights, observation, num_actions):
    """A linear network: ``[B, O]`` → ``[B, A, N]``."""
    matrix, bias = weights
    flat = observation @ matrix.T + bias
    return flat.reshape(len(observation), num_actions, -1)


def targets(head, online, target, batch, num_actions, gamma, double):
    """The target law of every transition, ``r + γ z(s′, argmax)`` or the reward alone where it terminated."""
    then = outputs(target, batch["next_observation"], num_actions)
    selector = outputs(online, batch["next_observation"], num_actions) if double else then
    found = []
    for i in range(len(then)):
        if batch["terminated"][i]:
            found.append((np.array([batch["reward"][i]]), np.array([1.0])))
            continue
        chosen = actions.best(head.value(selector[i]), batch["next_mask"][i])
        location, mass = head.law(then[i, chosen])
        found.append((batch["reward"][i] + gamma ** batch["steps"][i] * location, mass))
    return found


def loss(head, online, goals, batch, num_actions):
    """The weighted loss of every transition and its |td_error|, given the targets."""
    now = outputs(online, batch["observation"], num_actions)
    pairs = [head.loss(now[i, batch["action"][i]], *goals[i]) for i in range(len(now))]
    losses, errors = (np.array(column) for column in zip(*pairs, strict=True))
    return batch["weight"] * losses, np.abs(errors)


def gradient(function, x, step=1e-6):
    """Central differences of a scalar function of an array."""
    slope = np.zeros_like(x)
    for place in np.ndindex(x.shape):
        moved = x.copy()
        moved[place] += step
        above = function(moved)
        moved[place] -= 2 * step
        slope[place] = (above - function(moved)) / (2 * step)
    return slope
