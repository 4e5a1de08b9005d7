"""The loss's door: a documented tensordict layout in, plain tensors in the layout of the mathematics out."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from tensordict import TensorDictBase, unravel_key
from torch import Tensor

NestedKey = str | tuple[str, ...]


class Batch(NamedTuple):
    """Transitions as the mathematics reads them. ``*B`` any batch dimensions; time, where there is any, is last."""

    observation: Tensor | TensorDictBase
    action: Tensor  # [*B], the index of the action taken
    reward: Tensor  # [*B]
    discount: Tensor  # [*B], γᵏ over the steps used, 0 where the episode terminated
    next_observation: Tensor | TensorDictBase
    done: Tensor  # [*B], True where the episode ended, terminated or truncated
    mask: Tensor | None = None  # [*B, A], legal actions now
    next_mask: Tensor | None = None  # [*B, A], legal actions next
    priority_weight: Tensor | None = None  # [*B]
    action_probability: Tensor | None = None  # [*B], of the action taken under the behaviour policy


class BatchKeys(NamedTuple):
    """Where a loss finds what it reads and writes priorities. Keys of the next step live under ``"next"``."""

    action: NestedKey = "action"
    reward: NestedKey = "reward"
    done: NestedKey = "done"
    terminated: NestedKey = "terminated"
    truncated: NestedKey = "truncated"
    action_mask: NestedKey = "action_mask"
    priority_weight: NestedKey = "priority_weight"
    priority: NestedKey = "td_error"


def next_key(key: NestedKey) -> NestedKey:
    """The place of a key of the next step: ``"reward"`` → ``("next", "reward")``."""
    return unravel_key(("next", key))


def read_batch(
    tensordict: TensorDictBase,
    *,
    observe: Callable[[TensorDictBase], Tensor | TensorDictBase],
    encode: Callable[[Tensor], Tensor],
    keys: BatchKeys,
    gamma: float,
) -> Batch:
    """Translate a tensordict of transitions.

    Args:
        tensordict: observations, ``action``, and under ``"next"`` the observations, ``reward``, ``terminated`` or
            ``done`` (bool, integer or 0/1 float); reward and flags ``[*B]`` or ``[*B, 1]``. Optional:
            ``("next", "discount")``, which carries γᵏ·(1 − terminated) already, ``steps_to_next_obs``, masks,
            ``priority_weight``, ``action_probability``.
        observe: picks what the network reads.
        encode: the action in its documented layout → its index ``[*B]``.
        keys: the names to read under.
        gamma: γ, for a batch that carries no discount.

    Raises:
        KeyError: a required key is missing.
    """
    action = encode(tensordict.get(keys.action))  # [*B]
    batch = action.shape

    def optional(key: NestedKey) -> Tensor | None:
        value = tensordict.get(key, None)
        return None if value is None else _squeeze(value, batch, key)

    reward = _squeeze(tensordict.get(next_key(keys.reward)), batch, next_key(keys.reward))
    done = optional(next_key(keys.done))
    terminated = optional(next_key(keys.terminated))
    truncated = optional(next_key(keys.truncated))
    if terminated is None:
        if done is None:
            raise KeyError(f"expected {next_key(keys.terminated)} or {next_key(keys.done)} in the batch, found neither")
        terminated = done
    if done is None:
        done = terminated if truncated is None else (terminated != 0) | (truncated != 0)
    discount = optional(("next", "discount"))
    if discount is None:
        steps = optional("steps_to_next_obs")
        power = torch.full_like(reward, gamma) if steps is None else gamma ** steps.to(reward.dtype)
        discount = torch.where(terminated != 0, 0.0, power)
    return Batch(
        observation=observe(tensordict),
        action=action,
        reward=reward,
        discount=discount.to(reward.dtype),
        next_observation=observe(tensordict.get("next")),
        done=done != 0,
        mask=tensordict.get(keys.action_mask, None),
        next_mask=tensordict.get(next_key(keys.action_mask), None),
        priority_weight=optional(keys.priority_weight),
        action_probability=optional("action_probability"),
    )


def time_last(tensordict: TensorDictBase) -> tuple[TensorDictBase, Callable[[Tensor], Tensor]]:
    """The tensordict with a dimension named ``time`` moved last, and what moves a tensor ``[*B]`` back."""
    names: list[str | None] = list(tensordict.names)
    if "time" not in names or names[-1] == "time":
        return tensordict, lambda x: x
    time, last = names.index("time"), len(names) - 1
    return tensordict.transpose(time, last), lambda x: x.transpose(time, last)


def _squeeze(value: Tensor, batch: torch.Size, key: NestedKey) -> Tensor:
    if value.shape == batch:
        return value
    if value.shape == (*batch, 1):
        return value.squeeze(-1)
    raise ValueError(f"expected {key} of shape {[*batch]} or {[*batch, 1]} like the actions, got {[*value.shape]}")
