"""What a row is: a flat dictionary from (nested) key to a tensor ``[k, …]``, and what every row must hold."""

import torch
from torch import Tensor

from qframe.keys import NestedKey

Rows = dict[NestedKey, Tensor]

ENV = "env"
STEPS = "steps_to_next_obs"
REWARD = ("next", "reward")
TERMINATED = ("next", "terminated")
TRUNCATED = ("next", "truncated")
DONE = ("next", "done")
DISCOUNT = ("next", "discount")


def check_first(rows: Rows) -> None:
    """The first rows hold what a replay needs, and nothing under a name that it gives itself.

    Raises:
        KeyError: a key is missing, or taken.
        ValueError: a shape or a dtype is wrong.
    """
    missing = {ENV, REWARD, TERMINATED, TRUNCATED, DONE} - rows.keys()
    if missing:
        raise_key_error(missing=missing, new=set())
    taken = rows.keys() & {DISCOUNT, STEPS, "index", "priority_weight"}
    if taken:
        raise_key_error(missing=set(), new=taken)
    if rows[ENV].shape[1:] or rows[ENV].dtype is not torch.int64:
        raise_unlike(ENV, "[k] of torch.int64", rows[ENV])
    if rows[REWARD].shape[1:] != (1,) or not rows[REWARD].is_floating_point():
        raise_unlike(REWARD, "[k, 1] of a float dtype", rows[REWARD])
    for key in (TERMINATED, TRUNCATED, DONE):
        if rows[key].shape[1:] != (1,) or rows[key].dtype is not torch.bool:
            raise_unlike(key, "[k, 1] of torch.bool", rows[key])


def raise_key_error(missing: set, new: set) -> None:
    """Rows have other keys than they should: raise KeyError with both kinds."""
    names = {"missing": sorted(map(str, missing)), "new": sorted(map(str, new))}
    told = "; ".join(f"{word}: {', '.join(keys)}" for word, keys in names.items() if keys)
    raise KeyError(f"expected transitions with the keys that a replay stores, got {told}; give every row the same keys")


def raise_unlike(key: NestedKey, expected: str, leaf: Tensor) -> None:
    """An entry is not what was ``expected``: raise ValueError with what it is."""
    raise ValueError(
        f"expected {key!r} to be {expected}, got {list(leaf.shape)} of {leaf.dtype}; convert it before extend"
    )


def check_num_envs(num_envs: int) -> None:
    """There is a stream."""
    if num_envs < 1:
        raise ValueError(f"expected num_envs of at least 1, got {num_envs}; it is the number of environments")
