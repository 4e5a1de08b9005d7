"""Rows: a flat dictionary from (nested) key to a tensor ``[k, …]``, their keys, and the check that all rows agree.

The inner loop works on these dictionaries; a tensordict is built only for a sample.
"""

from collections.abc import Iterable
from typing import cast

import numpy as np
import torch
from tensordict import TensorDict
from torch import Tensor

from qframe.keys import NestedKey

Rows = dict[NestedKey, Tensor]

ENV = "env"
STEPS = "steps_to_next_obs"
INDEX = "index"
WEIGHT = "priority_weight"
OBSERVATION = "observation"
NEXT_OBSERVATION = ("next", "observation")
REWARD = ("next", "reward")
TERMINATED = ("next", "terminated")
TRUNCATED = ("next", "truncated")
DONE = ("next", "done")
DISCOUNT = ("next", "discount")
NEXT_PREDICTION = ("next", "prediction")
ACTION_VALUE = "chosen_action_value"
NEXT_VALUE = ("next", "state_value")
VALUES: frozenset[NestedKey] = frozenset({ACTION_VALUE, NEXT_VALUE})
"""Of the network that acted: of the action taken, and of the best one in the next state, ``[k, 1]`` each."""
LOSS_MASK = "loss_mask"


class RowSchema:
    """The keys, shapes and dtypes of all rows, fixed by the first ones.

    Args:
        num_envs: number of environments, numbered ``0 … num_envs − 1`` under "env".
        device: device to which checked rows are moved.
        required: keys that rows must have besides those that every replay needs.
    """

    def __init__(
        self, num_envs: int, device: torch.device | str = "cpu", required: frozenset[NestedKey] = frozenset()
    ) -> None:
        self._num_envs, self._required = num_envs, required
        self._device = torch.device(device)
        self._like: dict[NestedKey, tuple[torch.Size, torch.dtype]] = {}

    def check(self, transitions: TensorDict) -> Rows:
        """The leaves of ``transitions``, ``[k]``, on the schema's device.

        Raises:
            KeyError: a key is missing or new.
            ValueError: a shape or a dtype differs from the first rows', the batch is not ``[k]``, or an "env" is out of
                range.
        """
        if transitions.batch_dims != 1:
            raise ValueError(
                f"expected transitions of batch size [k], got {list(transitions.batch_size)}; flatten them in time "
                "order"
            )
        leaves = cast("Iterable[tuple[NestedKey, Tensor]]", transitions.items(True, True))
        rows = {key: leaf.to(self._device) for key, leaf in leaves}
        if not self._like:
            _check_first(rows, self._required)
        elif rows.keys() != self._like.keys():
            _raise_key_error(missing=self._like.keys() - rows.keys(), new=rows.keys() - self._like.keys())
        else:
            self._check_like(rows)
        check_env(rows[ENV].numpy(force=True), self._num_envs)
        if not self._like:
            self._like = {key: (leaf.shape[1:], leaf.dtype) for key, leaf in rows.items()}
        return rows

    def state_dict(self) -> Rows:
        """One empty tensor per key."""
        return {key: torch.empty((0, *shape), dtype=dtype) for key, (shape, dtype) in self._like.items()}

    def load_state_dict(self, state: Rows) -> None:
        """Restore what ``state_dict`` returned."""
        self._like = {key: (leaf.shape[1:], leaf.dtype) for key, leaf in state.items()}

    def _check_like(self, rows: Rows) -> None:
        for key, leaf in rows.items():
            if (leaf.shape[1:], leaf.dtype) != self._like[key]:
                shape, dtype = self._like[key]
                _raise_unlike(key, f"[{', '.join(['k', *map(str, shape)])}] of {dtype}, as in the first rows", leaf)


def take_span(rows: Rows, start: int, stop: int) -> Rows:
    """Views of rows ``start … stop − 1``; ``rows`` itself if that is all of them."""
    if start == 0 and stop == len(rows[REWARD]):
        return rows
    return {key: leaf[start:stop] for key, leaf in rows.items()}


def check_num_envs(num_envs: int) -> None:
    """Raise ValueError unless there is at least one environment."""
    if num_envs < 1:
        raise ValueError(f"expected num_envs of at least 1, got {num_envs}; it is the number of environments")


def check_env(env: np.ndarray, num_envs: int) -> None:
    """Raise ValueError unless every environment number is in ``0 … num_envs − 1``."""
    if len(env) and not 0 <= env.min() <= env.max() < num_envs:
        raise ValueError(
            f"expected 'env' in 0 … {num_envs - 1}, got {env.min()} … {env.max()}; "
            "build the replay with num_envs = the number of environments"
        )


def chosen_envs(env: int | None, num_envs: int) -> np.ndarray:
    """The number of one environment, or those of all for None."""
    chosen = np.arange(num_envs) if env is None else np.array([env])
    check_env(chosen, num_envs)
    return chosen


def _check_first(rows: Rows, required: frozenset[NestedKey]) -> None:
    """Check that the first rows hold every entry that a replay needs, and no key that a sample adds.

    Raises:
        KeyError: a key is missing or reserved.
        ValueError: a shape or a dtype is wrong.
    """
    missing = ({ENV, REWARD, TERMINATED, TRUNCATED, DONE} | required) - rows.keys()
    if missing:
        _raise_key_error(missing=missing, new=set())
    reserved = rows.keys() & {DISCOUNT, STEPS, INDEX, WEIGHT, NEXT_PREDICTION, LOSS_MASK}
    if reserved:
        _raise_key_error(missing=set(), new=reserved)
    if rows[ENV].shape[1:] or rows[ENV].dtype is not torch.int64:
        _raise_unlike(ENV, "[k] of torch.int64", rows[ENV])
    if rows[REWARD].dim() != 2 or not rows[REWARD].is_floating_point():
        _raise_unlike(REWARD, "[k, 1] of a float dtype", rows[REWARD])
    for key in (TERMINATED, TRUNCATED, DONE):
        if rows[key].shape[1:] != (1,) or rows[key].dtype is not torch.bool:
            _raise_unlike(key, "[k, 1] of torch.bool", rows[key])


def _raise_key_error(missing: set, new: set) -> None:
    names = {"missing": sorted(map(str, missing)), "new": sorted(map(str, new))}
    differences = "; ".join(f"{word}: {', '.join(keys)}" for word, keys in names.items() if keys)
    raise KeyError(f"transitions have other keys than the replay stores: {differences}; give every row the same keys")


def _raise_unlike(key: NestedKey, expected: str, leaf: Tensor) -> None:
    raise ValueError(
        f"expected {key!r} to be {expected}, got {list(leaf.shape)} of {leaf.dtype}; convert it before extend"
    )
