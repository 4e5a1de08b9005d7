"""The support of C51 and HL-Gauss: kept as wide as the discounted returns of training, or watched if it is fixed."""

import math
from collections import defaultdict
from collections.abc import Callable, Iterable
from itertools import accumulate
from typing import Any

import torch
from tensordict import TensorDict, TensorDictBase
from torch import Tensor, nn

from qframe.functional.backup import Law
from qframe.heads import Head, Prediction
from qframe.networks.recurrent_trunk import recurrent_trunk
from qframe.objectives import DQNLoss

NEGLIGIBLE = 0.01
"""The discount at which later rewards are left out of a return."""
LONGEST = 10_000
"""The most steps of an episode that a return is summed over."""
MARGIN = 0.5
"""The part of the returns' range by which an end of the support lies beyond them, so that it seldom moves."""
ALIKE = 0.01
"""Returns are alike if they differ by no more than this part of the largest."""
STATES = 1024
"""States that the last layer is fitted on when the support moves."""
FIT_STEPS = 100
"""The most steps of L-BFGS in one fit."""


class ReturnRange:
    """The lowest, the highest and the mean discounted return from the steps of training, in constant memory.

    The returns of an episode are known at its end. One that was cut is taken to continue as it went: its last steps'
    mean reward for ever. Of an episode longer than two horizons, those of its earlier half are summed and forgotten,
    where a horizon ends as the discount falls below 1 % (at most 10,000 steps).

    Args:
        gamma: γ.

    >>> seen = ReturnRange(0.5)
    >>> seen.add([0, 0], [4.0, 4.0], [False, True], [False, False])
    >>> seen.low, seen.high, seen.mean()
    (4.0, 6.0, 5.0)
    """

    def __init__(self, gamma: float) -> None:
        self._gamma = gamma
        steps = LONGEST if gamma == 1 else math.log(NEGLIGIBLE) / math.log(gamma or NEGLIGIBLE)
        self._horizon = min(LONGEST, math.ceil(steps))
        self._rewards: dict[int, list[float]] = defaultdict(list)
        self.low, self.high = math.inf, -math.inf
        self.total, self.number = 0.0, 0
        self.lowest_reward, self.highest_reward = math.inf, -math.inf

    def add(self, env: list[int], reward: list[float], done: list[bool], truncated: list[bool]) -> None:
        """Add one step of some environments, with the rewards that are stored; an episode may be cut and done."""
        for place, number in enumerate(env):
            rewards = self._rewards[number]
            rewards.append(reward[place])
            self.lowest_reward = min(self.lowest_reward, reward[place])
            self.highest_reward = max(self.highest_reward, reward[place])
            if done[place]:
                self._include(self._returns(rewards, is_cut=truncated[place]))
                self._rewards[number] = []
            elif len(rewards) == 2 * self._horizon:
                self._include(self._returns(rewards, is_cut=True)[: self._horizon])
                self._rewards[number] = rewards[self._horizon :]

    def so_far(self, *, continues: bool) -> tuple[float, float]:
        """The range with the running episodes: as if they were cut now and continued, or ended now."""
        running = self._running(continues=continues)
        return min([self.low, *running]), max([self.high, *running])

    def mean(self) -> float:
        """The mean over all steps, with the running episodes as if they were cut now and continued."""
        running = self._running(continues=True)
        return (self.total + sum(running)) / (self.number + len(running))

    def bounds(self) -> tuple[float, float]:
        """The returns between which every policy lies, if no reward is beyond those seen."""
        endless = math.inf if self._gamma == 1 else 1 / (1 - self._gamma)
        low, high = self.lowest_reward, self.highest_reward
        return low * endless if low < 0 else low, high * endless if high > 0 else high

    def abandon(self) -> None:
        """Forget the running episodes."""
        self._rewards.clear()

    def state_dict(self) -> dict[str, Any]:
        """The range, the sum and number of returns, and the last rewards of the running episodes."""
        own = {name: value for name, value in vars(self).items() if not name.startswith("_")}
        return own | {"rewards": dict(self._rewards)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Resume from ``state``."""
        self._rewards = defaultdict(list, {env: list(rewards) for env, rewards in state["rewards"].items()})
        for name in ("low", "high", "total", "number", "lowest_reward", "highest_reward"):
            setattr(self, name, state[name])

    def _include(self, returns: list[float]) -> None:
        self.low, self.high = min(self.low, *returns), max(self.high, *returns)
        self.total, self.number = self.total + sum(returns), self.number + len(returns)

    def _running(self, *, continues: bool) -> list[float]:
        """The returns from every step of the running episodes."""
        episodes = self._rewards.values()
        return [each for rewards in episodes if rewards for each in self._returns(rewards, is_cut=continues)]

    def _returns(self, rewards: list[float], *, is_cut: bool) -> list[float]:
        """The return from each of some steps."""
        following = 0.0
        if is_cut and self._gamma < 1:
            last = rewards[-self._horizon :]
            following = sum(last) / len(last) / (1 - self._gamma)
        backwards = accumulate(reversed(rewards), lambda after, reward: reward + self._gamma * after, initial=following)
        return list(backwards)[:0:-1]


class Support:
    """Sets the support of a head before the first update, and widens it when returns leave it.

    An end that the config gives as a number stays, and returns beyond it are warned of once.

    The first support is the range of the warm-up's returns with a margin of half its width on both sides, but not
    beyond the returns ``r / (1 − γ)`` of the lowest and the highest reward seen, which bound those of every policy. An
    end that returns cross later is set again by the same rule: there are few such times, as each adds a margin.

    With the first support the biases of HL-Gauss are set to predict the mean return of the warm-up. Equal logits would
    predict the middle of the support, which may be far above most returns, an optimism that bootstraps keep alive. If
    the support is narrow around returns that are alike, the middle stays: its little optimism favours what has not
    been tried.

    The last layer cannot be transformed to keep its distributions: their re-projection is no linear map of logits, and
    keeping the logits would move all action values with the atoms. So the layer is fitted again. On states of the
    replay the cross-entropy of its new outputs and the re-projected old distributions is minimised, which is convex in
    the layer (a multinomial logistic regression). The projection on a wider support keeps every mean, and at the
    minimum the errors of the new means, ``Σ_s [q′(s, a) − q(s, a)] · f(s)``, are 0 along every feature f of the layer
    and in the mean over states: action values keep all that a linear function of the features can. The target
    network's layer is fitted in the same way, on its own features. All of it is deterministic.

    Args:
        loss: of a network whose head is ``expressible`` within bounds.
    """

    def __init__(self, loss: DQNLoss) -> None:
        self._loss, self.returns = loss, ReturnRange(loss.gamma)
        ends = loss.head.expressible
        assert ends is not None
        self.bounds: tuple[float, float] = ends
        self.is_set, self._has_warned = not any(loss.head.has_auto_bounds), False

    def add(self, transitions: TensorDict) -> None:
        """Add the transitions of one step."""
        following = transitions["next"]
        columns = (transitions["env"], following["reward"], following["done"], following["truncated"])
        self.returns.add(*(column.flatten().tolist() for column in columns))

    def fit(self, draw_states: Callable[[int], TensorDictBase]) -> str | None:
        """Set the support, or widen it, if the returns need it; called before updates.

        Args:
            draw_states: gives about this many transitions of the replay.

        Returns:
            A note on the new support; None if it stays.
        """
        is_first, is_auto = not self.is_set, self._loss.head.has_auto_bounds
        low, high = self.returns.so_far(continues=True) if is_first else (self.returns.low, self.returns.high)
        crossed = self._crossed(low, high)
        moves = [auto and (is_first or over) for auto, over in zip(is_auto, crossed, strict=True)]
        if low > high or not any(moves):
            return None
        sides = zip(moves, _rounded(*self._around(low, high)), self.bounds, strict=True)
        ends = [new if moved else old for moved, new, old in sides]
        if not ends[0] < ends[1]:  # beyond the fixed end, of which ``warning`` warns
            ends[0 if moves[0] else 1] = ends[1] - 1.0 if moves[0] else ends[0] + 1.0
        self._move((ends[0], ends[1]), None if is_first else draw_states(STATES))
        self.is_set = True
        names, reached = ("head.v_min", "head.v_max"), self._loss.head.expressible or ends
        now = [f"{name} is now {end:.4g}" for name, end, moved in zip(names, reached, moves, strict=True) if moved]
        return f"returns range from {low:.4g} to {high:.4g}: {' and '.join(now)}"

    def warning(self) -> str | None:
        """A warning, once, if the head cannot express the returns and its support is fixed."""
        low, high = self.returns.so_far(continues=False)
        over = self._crossed(low, high)
        fixed = [is_over and not auto for is_over, auto in zip(over, self._loss.head.has_auto_bounds, strict=True)]
        if self._has_warned or low > high or not any(fixed):
            return None
        self._has_warned = True
        return (
            f"returns range from {low:.4g} to {high:.4g}, but the head's support from {self.bounds[0]:.4g} to "
            f"{self.bounds[1]:.4g}; widen head.v_min and head.v_max, or set them to auto"
        )

    def state_dict(self) -> dict[str, Any]:
        """The range of returns, and whether the support is set; the atoms are buffers of the networks."""
        own = {"bounds": self.bounds, "set": self.is_set, "warned": self._has_warned}
        return own | {"returns": self.returns.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Resume from ``state``."""
        self.returns.load_state_dict(state["returns"])
        low, high = state["bounds"]
        self.bounds, self.is_set, self._has_warned = (low, high), state["set"], state["warned"]

    def _crossed(self, low: float, high: float) -> tuple[bool, bool]:
        slack = 1e-5 * (self.bounds[1] - self.bounds[0])  # rounding
        return low < self.bounds[0] - slack, high > self.bounds[1] + slack

    def _around(self, low: float, high: float) -> tuple[float, float]:
        """The support for returns of this range."""
        margin = MARGIN * (max(high - low, ALIKE * abs(low), ALIKE * abs(high)) or 2.0)
        ends = low - margin, high + margin
        if "all_actions" in self._loss.estimator.requires:  # soft targets add an entropy to the rewards
            return ends
        bounds = self.returns.bounds()
        within = max(ends[0], bounds[0]), min(ends[1], bounds[1])
        return within if within[1] - within[0] >= margin else ends

    def _move(self, ends: tuple[float, float], transitions: TensorDictBase | None) -> None:
        """Set the atoms of all heads, and their first mean or, with transitions, their last layers again."""
        online, target = self._loss.value_network, self._loss.target_value_network
        low, high = self.returns.so_far(continues=True)
        is_wide = ends[1] - ends[0] > 2 * ALIKE * max(abs(low), abs(high))
        learning = [name for name, parameter in online.named_parameters() if parameter.requires_grad]
        for network in [online] if online is target else [online, target]:
            heads = {path: part for path, part in network.named_modules() if isinstance(part, Head)}
            if transitions is None:
                _set_bounds(heads.values(), ends)
                for head in getattr(network, "level_heads", [network.head]) if is_wide else []:
                    head.set_initial_mean(self.returns.mean())
            else:
                layer = [name for name in learning if any(name.startswith(f"{path}.") for path in heads)]
                _reproject(network, heads.values(), ends, [network.get_parameter(name) for name in layer], transitions)
        self.bounds = ends


def _rounded(low: float, high: float) -> tuple[float, float]:
    """The ends in few digits of their distance, which reads well, and not within what they were but for rounding."""
    step = 10.0 ** (math.floor(math.log10(high - low)) - 4)
    ends = math.floor(low / step + 0.01) * step, math.ceil(high / step - 0.01) * step  # 1e-6 of the distance at most
    first, last = (float(f"{end:.12g}") for end in ends)
    return first, last


def _set_bounds(heads: Iterable[Head[Any]], ends: tuple[float, float]) -> None:
    for head in heads:
        head.set_bounds(*ends)


def _reproject(
    network: Any,
    heads: Iterable[Head[Any]],
    ends: tuple[float, float],
    layer: list[nn.Parameter],
    transitions: TensorDictBase,
) -> None:
    """Set the atoms of a network's heads, and fit its last layer to its old distributions, re-projected."""
    trunk, training = recurrent_trunk(network), network.training
    if trunk is None:
        observation = network.observe(transitions)
    else:
        with torch.no_grad():
            observation = trunk.unroll(transitions).now

    def predict() -> list[Prediction]:
        if getattr(network, "dueling", True):
            return [network.predict(observation)]
        return network.predict_streams(observation)

    network.eval()
    with torch.no_grad():
        laws = [Law(*(part.clone() for part in network.head.law(prediction))) for prediction in predict()]
        _set_bounds(heads, ends)
        targets = [network.head.project(law) for law in laws]
    kept = [(parameter, parameter.requires_grad, parameter.grad) for parameter in network.parameters()]
    network.requires_grad_(False)
    for parameter in layer:
        parameter.requires_grad_(True)
        parameter.grad = None
    optimizer = torch.optim.LBFGS(layer, max_iter=FIT_STEPS, history_size=20, line_search_fn="strong_wolfe")

    def difference() -> Tensor:
        optimizer.zero_grad()
        pairs = zip(predict(), targets, strict=True)
        loss = torch.stack([network.head.loss(prediction, target)[0].mean() for prediction, target in pairs]).sum()
        loss.backward()
        return loss

    optimizer.step(difference)
    for parameter, requires_grad, gradient in kept:
        parameter.requires_grad_(requires_grad)
        parameter.grad = gradient
    network.train(training)
