"""From a documented batch to a loss: tensordict layouts in, the pure loss of ``q_learning`` inside."""

from collections.abc import Callable
from typing import Any

import torch
from tensordict import TensorDict, TensorDictBase
from torch import Tensor, nn

from qframe.estimators.protocol import Batch
from qframe.functional.action import Branches
from qframe.heads import Head
from qframe.keys import NestedKey
from qframe.networks.noise import RandomPass
from qframe.networks.protocol import Network
from qframe.objectives.q_learning import JointAction, Noise, dqn_loss
from qframe.objectives.value_loss import ValueLoss

_REDUCTIONS: dict[str, Callable[[Tensor], Tensor]] = {"mean": Tensor.mean, "sum": Tensor.sum, "none": lambda x: x}


class TransitionLoss(ValueLoss):
    """A loss of transitions: it reads them, evaluates the pure loss, and writes what feeds priorities.

    A subclass sets up the networks and the options that are named here.
    """

    value_network: nn.Module
    reduction: str
    priority: str
    double_dqn: bool
    generator: torch.Generator
    _networks: tuple[Network, Network]
    _branches: Branches
    _joint: JointAction
    _is_joint: bool
    _encode: Callable[[Tensor], Tensor]
    _takes_mask: bool
    _has_members: bool
    _random: tuple[RandomPass, RandomPass] | None
    _place: tuple[nn.Module, str] | None
    """Of ``place_of_floats``: to look for them takes longer than to read a batch's entry."""

    @property
    def head(self) -> Head[Any]:
        """The head that interprets the network's predictions."""
        return self._networks[0].head

    @property
    def priority_key(self) -> NestedKey:
        """Where the loss writes what feeds priorities."""
        return self.keys.priority if self.priority == "td_error" else "priority"

    def forward(
        self, tensordict: TensorDictBase | None = None, *, noise: Noise | None = None, **keywords: Tensor
    ) -> TensorDictBase | Tensor:
        """The loss of a batch of transitions, a tensordict or keywords; see ``DQNLoss``.

        Args:
            tensordict: the batch; None where it comes in keywords.
            noise: of ``draw_noise``; None draws it. A compiled call needs it: no generator enters a graph.
            **keywords: the batch's entries, those of the next step as ``next_…``.

        Raises:
            KeyError: a required entry is missing.
            ValueError: a flat batch for an estimator over time, or entries whose shapes disagree.
        """
        if tensordict is None:
            return self._evaluate(self._read(_from_keywords(keywords)), noise)[0]
        ordered, restore = _time_last(tensordict)
        batch = self._read(ordered)
        loss, per_transition, td_error = self._evaluate(batch, noise)
        size = self._joint.mean(td_error.abs())
        tensordict.set(self.keys.priority, restore(size).unsqueeze(-1))
        if self.priority == "loss":
            tensordict.set("priority", restore(per_transition).unsqueeze(-1))
        return TensorDict({"loss": restore(loss) if loss.dim() else loss, "td_error_mean": size.mean()}, [])

    def _read(self, tensordict: TensorDictBase) -> Batch:
        """The loss's door: a documented tensordict layout in, plain tensors ``[*B]`` out."""
        keys, requires = self.keys, self.estimator.requires
        following: TensorDictBase = tensordict["next"]
        index = self._encode(tensordict[keys.action])  # [*B], or [*B, D]
        shape = index.shape[:-1] if self._is_joint else index.shape
        reward = _squeeze(following[keys.reward].to(self._like.dtype), shape, self.next_keys.reward)
        discount, done = self._discount_and_done(tensordict, following, reward)
        batch = Batch(
            observation=self._networks[0].observe(tensordict),
            action=self._branches.in_front(index),
            reward=reward,
            discount=discount,
            next_observation=self._networks[0].observe(following),
            done=done,
            mask=self._branches.legal(tensordict.get(keys.action_mask, None), shape),
            next_mask=self._branches.legal(self._next_mask(following), shape),
            priority_weight=_optional(tensordict, keys.priority_weight, shape),
            action_probability=_optional(tensordict, "action_probability", shape),
            bootstrap_mask=tensordict.get("bootstrap_mask", None) if self._has_members else None,
        )
        if "behaviour_probability" in requires and batch.action_probability is None:
            raise KeyError(f"expected 'action_probability' in the batch for {type(self.estimator).__name__}")
        if "time" in requires and reward.dim() < 2 and "time" not in tensordict.names:
            raise ValueError(
                f"expected a batch with a time dimension ([B, T], or one named 'time') for "
                f"{type(self.estimator).__name__}, got a flat one of shape {[*reward.shape]}; sample slices, or use TD0"
            )
        return batch

    @property
    def _like(self) -> Tensor:
        """A parameter of the network: targets are of its dtype, whatever type the rewards have."""
        return torch.empty(0) if self._place is None else getattr(*self._place)

    def _next_mask(self, following: TensorDictBase) -> Tensor | None:
        key = self.keys.action_mask
        return following[key] if self._takes_mask else following.get(key, None)

    def _discount_and_done(
        self, tensordict: TensorDictBase, following: TensorDictBase, reward: Tensor
    ) -> tuple[Tensor, Tensor]:
        """γᵏ, 0 where the episode terminated, as the replay wrote it or computed; and where an episode ended."""
        keys, next_keys, shape = self.keys, self.next_keys, reward.shape
        discount = _optional(following, "discount", shape, ("next", "discount"))
        done = _optional(following, keys.done, shape, next_keys.done)
        terminated = _optional(following, keys.terminated, shape, next_keys.terminated)
        if terminated is None:
            terminated = done
        if terminated is None:
            raise KeyError(f"expected {next_keys.terminated} or {next_keys.done} in the batch, found neither")
        if done is None:
            truncated = _optional(following, keys.truncated, shape, next_keys.truncated)
            done = terminated if truncated is None else (terminated != 0) | (truncated != 0)
        if discount is None:
            steps = _optional(tensordict, keys.steps_to_next_obs, shape)
            power = reward.new_full((), self.gamma) if steps is None else self.gamma ** steps.to(reward.dtype)
            discount = torch.where(terminated.bool(), 0.0, power)
        return discount.to(reward.dtype), done.bool()

    def _evaluate(self, batch: Batch, noise: Noise | None) -> tuple[Tensor, Tensor, Tensor]:
        """The reduced loss, the unweighted loss ``[*B]`` and the signed td_error ``[*B]``, the latter two detached."""
        noise = self.draw_noise(batch.reward.shape) if noise is None else noise
        loss, td_error = self._losses(batch, noise)
        weighted = loss if batch.priority_weight is None else batch.priority_weight * loss
        return _REDUCTIONS[self.reduction](weighted), loss.detach(), td_error

    def _losses(self, batch: Batch, noise: Noise) -> tuple[Tensor, Tensor]:
        """The loss and the signed td_error of every transition, ``[*B]``."""
        online, target = self._random or self._networks
        return dqn_loss(
            self.head, online.predict, target.predict, batch, noise, self.estimator,
            double=self.double_dqn, joint=self._joint,
        )

    def draw_noise(self, batch: torch.Size) -> Noise:
        """What is random in one evaluation of transitions ``[*B]``, each pass on its own, the same on every device.

        Args:
            batch: ``*B``.
        """
        if self._random is None:
            return Noise()
        (online, target), like = self._random, self._like
        return Noise(
            online=online.draw(batch, self.generator, like),
            target=target.draw(batch, self.generator, like, is_target=True),
            selector=online.draw(batch, self.generator, like, is_target=True),
        )


def place_of_floats(network: nn.Module) -> tuple[nn.Module, str] | None:
    """The module that holds a network's first floating parameter, and the parameter's name there."""
    for path, parameter in network.named_parameters():
        if parameter.is_floating_point():
            owner, _, name = path.rpartition(".")
            return network.get_submodule(owner), name
    return None


def _from_keywords(keywords: dict[str, Tensor]) -> TensorDict:
    tensordict = TensorDict({"next": TensorDict({})})
    for name, value in keywords.items():
        tensordict.set(("next", name.removeprefix("next_")) if name.startswith("next_") else name, value)
    return tensordict


def _time_last(tensordict: TensorDictBase) -> tuple[TensorDictBase, Callable[[Tensor], Tensor]]:
    """The tensordict with a dimension named ``time`` moved last, and what moves a tensor ``[*B]`` back."""
    names: list[str | None] = list(tensordict.names)
    if "time" not in names or names[-1] == "time":
        return tensordict, lambda x: x
    time, last = names.index("time"), len(names) - 1
    return tensordict.transpose(time, last), lambda x: x.transpose(time, last)


def _optional(
    tensordict: TensorDictBase, key: NestedKey, batch: torch.Size, told: NestedKey | None = None
) -> Tensor | None:
    """An entry ``[*B]``, where there is one; ``told`` is its name in the whole batch."""
    value = tensordict.get(key, None)
    return None if value is None else _squeeze(value, batch, told or key)


def _squeeze(value: Tensor, batch: torch.Size, key: NestedKey) -> Tensor:
    if value.shape == batch:
        return value
    if value.shape == (*batch, 1):
        return value.squeeze(-1)
    raise ValueError(f"expected {key} of shape {[*batch]} or {[*batch, 1]} like the actions, got {[*value.shape]}")
