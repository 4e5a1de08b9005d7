"""Reading a batch: from the tensordict layouts that the loss documents to the plain tensors of a ``Batch``."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from tensordict import TensorDict, TensorDictBase, unravel_key
from torch import Tensor, nn

from qframe.actions import ActionSpace
from qframe.estimators.protocol import Batch, ValueEstimator
from qframe.functional.compiling import is_readable
from qframe.keys import ACTION_VALUE, CHOSEN_ACTION_VALUE, PREDICTION, NestedKey
from qframe.networks.protocol import Network


class BatchKeys(NamedTuple):
    """The keys under which a loss reads a batch and writes priorities. Keys of the next step live under ``"next"``.

    The last four are TorchRL's: action values are read where the network writes them, so ``action_value`` must be the
    network's key; nothing is written under the other three, as value estimators are functions here.
    """

    action: NestedKey = "action"
    reward: NestedKey = "reward"
    done: NestedKey = "done"
    terminated: NestedKey = "terminated"
    truncated: NestedKey = "truncated"
    action_mask: NestedKey = "action_mask"
    priority_weight: NestedKey = "priority_weight"
    steps_to_next_obs: NestedKey = "steps_to_next_obs"
    priority: NestedKey = "td_error"
    action_value: NestedKey = ACTION_VALUE
    value: NestedKey = CHOSEN_ACTION_VALUE
    advantage: NestedKey = "advantage"
    value_target: NestedKey = "value_target"


class BatchReader:
    """Reads transitions from a tensordict.

    Args:
        network: defines what is observed, and the branches of an action.
        module: the module behind it; targets are of the dtype of its parameters, whatever type the rewards have.
        action_space: how actions are written.
    """

    def __init__(self, network: Network, module: nn.Module, action_space: ActionSpace) -> None:
        self._network, self._action_space = network, action_space
        members = getattr(network, "members", None)
        self._has_members, self._has_bonus = members is not None, getattr(members, "has_bonus", False)
        q_value = getattr(network, "q_value", None)
        mask_key: NestedKey | None = None if q_value is None else q_value.action_mask_key
        self._needs_mask = mask_key is not None
        # Searching for the first floating parameter takes longer than reading an entry of a batch.
        self._place = _place_of_floats(module)
        self.keys = self.next_keys = BatchKeys()
        self._value_key = getattr(q_value, "action_value_key", ACTION_VALUE)
        self.set_keys({"action_value": self._value_key} | ({} if mask_key is None else {"action_mask": mask_key}))

    def set_keys(self, keys: dict[str, NestedKey]) -> None:
        """Read and write under other names.

        Raises:
            ValueError: a name that is not among those of ``BatchKeys``, or another ``action_value`` than the network's.
        """
        unknown = set(keys) - set(BatchKeys._fields)
        if unknown:
            raise ValueError(f"there is no key {', '.join(sorted(unknown))}; a loss has {', '.join(BatchKeys._fields)}")
        if keys.get("action_value", self._value_key) != self._value_key:
            raise ValueError(
                f"the network writes its action values under {self._value_key!r}, not {keys['action_value']!r}; give "
                "the network that action_value_key"
            )
        self.keys = self.keys._replace(**keys)
        self.next_keys = BatchKeys(*(unravel_key(("next", key)) for key in self.keys))

    @property
    def like(self) -> Tensor:
        """A floating parameter of the network, for its dtype and device."""
        return torch.empty(0) if self._place is None else getattr(*self._place)

    def read(self, tensordict: TensorDictBase, estimator: ValueEstimator, gamma: float) -> Batch:
        """Read a batch.

        Args:
            tensordict: transitions ``[*B]``.
            estimator: names the entries it requires.
            gamma: γ, where the batch has no ``("next", "discount")``.

        Raises:
            KeyError: a required entry is missing.
            ValueError: a flat batch for an estimator over time, or entries whose shapes disagree.
        """
        keys, branches, following = self.keys, self._network.branches, tensordict["next"]
        action = tensordict[keys.action]
        if action.shape[-1:] == (1,) and self._action_space.encoding == "categorical":
            action = self._index(action, tensordict)
        index = self._action_space.encode(action)  # [*B], or [*B, D]
        mask: Tensor | None = tensordict.get(keys.action_mask, None)
        next_mask = following[keys.action_mask] if self._needs_mask else following.get(keys.action_mask, None)
        shape = index.shape
        if self._action_space.is_joint:
            shape = shape[:-1]
            mask, next_mask = (self._action_space.split_mask(m, shape, index.device) for m in (mask, next_mask))
        returns = _with_bonus if self._has_bonus else _squeeze
        reward = returns(following[keys.reward].to(self.like.dtype), shape, self.next_keys.reward)
        discount, done = self._discount_and_done(tensordict, following, reward, shape, gamma)
        needs_probability = "behaviour_probability" in estimator.requires
        prediction, loss_mask = following.get(PREDICTION, None), tensordict.get("loss_mask", None)
        batch = Batch(
            observation=self._network.observe(tensordict),
            action=branches.split_index(index),
            reward=reward,
            discount=discount,
            next_observation=self._network.observe(following),
            done=done,
            mask=mask,
            next_mask=next_mask,
            priority_weight=_optional(tensordict, keys.priority_weight, shape),
            action_probability=_optional(tensordict, "action_probability", shape) if needs_probability else None,
            bootstrap_mask=tensordict.get("bootstrap_mask", None) if self._has_members else None,
            loss_mask=None if loss_mask is None else _squeeze(loss_mask, shape, "loss_mask"),
            next_prediction=None if prediction is None else _branches_first(prediction, shape),
        )
        name = type(estimator).__name__
        if needs_probability and batch.action_probability is None:
            raise KeyError(f"{name} needs 'action_probability' in the batch; store it with each action")
        if "time" in estimator.requires and len(shape) < 2 and "time" not in tensordict.names:
            raise ValueError(
                f"{name} needs a batch with a time dimension ([B, T], or one named 'time'), not a flat one of shape "
                f"{[*shape]}; sample slices, or use TD0"
            )
        return batch

    @property
    def width(self) -> int | None:
        """The number of action values; None until the first prediction of a network that does not know it."""
        return self._action_space.width if self._action_space.has_sizes else getattr(self._network, "width", None)

    def check_action(self, tensordict: TensorDictBase) -> bool:
        """Check the actions of a batch: their shape, and their numbers where Python may look at them.

        Returns:
            Whether they could be checked: not before the number of action values is known.

        Raises:
            ValueError: they are not of the action space.
        """
        if self.width is None:
            return False
        action = tensordict[self.keys.action]
        self._action_space.check_action(action, self.width, reads=is_readable(action))
        return True

    def _index(self, action: Tensor, tensordict: TensorDictBase) -> Tensor:
        """Indices whose last dimension is 1; those ``[*B, 1]`` become ``[*B]``."""
        batch, reward = tensordict.batch_size, tensordict["next"][self.keys.reward]
        if not batch:  # from keywords: the observations tell [*B] from [*B, 1]
            observed = self._network.observe(tensordict)
            leaf = observed if torch.is_tensor(observed) else next(iter(observed.values(True, True)))
            batch = leaf.shape[: action.dim()]
        is_batch = batch == action.shape or reward.shape == (*action.shape, 1)
        return action if is_batch else action.squeeze(-1)

    def _discount_and_done(
        self,
        tensordict: TensorDictBase,
        following: TensorDictBase,
        reward: Tensor,
        shape: torch.Size,
        gamma: float,
    ) -> tuple[Tensor, Tensor]:
        """γᵏ, 0 where the episode terminated, read or computed; and where an episode ended."""
        keys, next_keys = self.keys, self.next_keys
        discount = _optional(following, "discount", shape, ("next", "discount"))
        done = _optional(following, keys.done, shape, next_keys.done)
        terminated = _optional(following, keys.terminated, shape, next_keys.terminated)
        if terminated is None:
            terminated = done
        if terminated is None:
            raise KeyError(f"the batch has neither {next_keys.terminated} nor {next_keys.done}; add one of them")
        if done is None:
            truncated = _optional(following, keys.truncated, shape, next_keys.truncated)
            done = terminated if truncated is None else (terminated != 0) | (truncated != 0)
        if discount is None:
            steps = _optional(tensordict, keys.steps_to_next_obs, shape)
            power = reward.new_full((), gamma) if steps is None else gamma ** steps.to(reward.dtype)
            discount = torch.where(terminated.bool(), 0.0, power)
        return discount.to(reward.dtype), done.bool()


def _branches_first(prediction: Tensor, batch: torch.Size) -> Tensor:
    """Outputs ``[*B, A, N]`` as they are, or ``[*B, D, A, N]`` → ``[D, *B, A, N]``."""
    return prediction if prediction.dim() == len(batch) + 2 else prediction.movedim(len(batch), 0)


def _with_bonus(reward: Tensor, batch: torch.Size, key: NestedKey) -> Tensor:
    """The rewards of two returns, ``[*B, 2]`` → ``[2, *B]``."""
    if reward.shape != (*batch, 2):
        raise ValueError(f"expected {key} of shape {[*batch, 2]}, with the bonus, got {[*reward.shape]}")
    return reward.movedim(-1, 0)


def from_keywords(keywords: dict[str, Tensor]) -> TensorDict:
    """A batch from its entries, those of the next step as ``next_…``."""
    tensordict = TensorDict({"next": TensorDict({})})
    for name, value in keywords.items():
        tensordict.set(("next", name.removeprefix("next_")) if name.startswith("next_") else name, value)
    return tensordict


def time_last(tensordict: TensorDictBase) -> tuple[TensorDictBase, Callable[[Tensor], Tensor]]:
    """The tensordict with a dimension named ``time`` moved last, and a function that moves a tensor ``[*B]`` back."""
    names: list[str | None] = list(tensordict.names)
    if "time" not in names or names[-1] == "time":
        return tensordict, lambda x: x
    time, last = names.index("time"), len(names) - 1
    return tensordict.transpose(time, last), lambda x: x.transpose(time, last)


def _place_of_floats(network: nn.Module) -> tuple[nn.Module, str] | None:
    """The module that holds a network's first floating parameter, and the parameter's name there."""
    for path, parameter in network.named_parameters():
        if parameter.is_floating_point():
            owner, _, name = path.rpartition(".")
            return network.get_submodule(owner), name
    return None


def _optional(
    tensordict: TensorDictBase, key: NestedKey, batch: torch.Size, full_key: NestedKey | None = None
) -> Tensor | None:
    """An entry ``[*B]``, or None; ``full_key`` is its key in the whole batch, for messages."""
    value = tensordict.get(key, None)
    return None if value is None else _squeeze(value, batch, full_key or key)


def _squeeze(value: Tensor, batch: torch.Size, key: NestedKey) -> Tensor:
    if value.shape == batch:
        return value
    if value.shape == (*batch, 1):
        return value.squeeze(-1)
    raise ValueError(
        f"expected {key} of shape {[*batch]} or {[*batch, 1]} like the actions, got {[*value.shape]}; are the actions "
        "in the layout of the action space, an index or one-hot?"
    )
