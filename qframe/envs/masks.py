"""Action masks: found in an environment, checked, and flattened to one row of booleans.

A row holds the masks of the action's branches side by side: ``n`` entries for a Discrete action, the sum of the sizes
for MultiDiscrete, and two (value 0, value 1) per bit for MultiBinary.
"""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, Literal, NamedTuple

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from qframe.actions.gymnasium_spaces import choices

MASK = "action_mask"
FAULT = "action_mask_fault"
"""The keys of infos for a mask, and for a message about a faulty one, which crosses processes without a traceback."""
_OTHER = "give booleans or 0/1 (True = legal)"


NoLegal = Literal["stop", "truncate", "all"]


class CheckedMask(NamedTuple):
    """A flat mask, and the fault of the one that the environment gave, if any."""

    mask: NDArray[np.bool_]  # [ΣA]
    fault: str | None
    is_empty: bool = False  # a branch has no legal action; then the mask allows all of its actions


class ActionMasks(gym.Wrapper[Any, Any, Any, Any]):
    """Puts a checked, flat mask into ``info["action_mask"]`` after every reset and step, in three conventions.

    The mask comes from ``mask_key`` of a Dict observation (PettingZoo), which loses that entry; from
    ``info["action_mask"]`` (Gymnasium); or from a method ``action_masks()`` (sb3-contrib) of the environment or of one
    that it wraps. A faulty mask is reported in ``info["action_mask_fault"]``.

    Args:
        env: with an action space of discrete choices.
        mask_key: the key of the mask in the observation; None: the observation holds none. If a single other entry
            remains, it becomes the observation.

        no_legal: at a mask without a legal action, report a fault (``stop``), truncate the episode (``truncate``), or
            allow all actions (``all``).

    Raises:
        ValueError: the observation has no such key.
    """

    def __init__(self, env: gym.Env[Any, Any], mask_key: str | None = None, *, no_legal: NoLegal = "stop") -> None:
        super().__init__(env)
        self._mask_key, self._no_legal = mask_key, no_legal
        self._only: str | None = None
        if mask_key is not None:
            self.observation_space, self._only = _without(env.observation_space, mask_key)
        self._method = mask_method(env)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Reset, with the mask of the first observation."""
        observation, info = self.env.reset(seed=seed, options=options)
        observation, info, _ = self._masked(observation, info, is_over=False)
        return observation, info

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Step, with the mask of the next observation; without one for the last observation, all actions are legal."""
        observation, reward, terminated, truncated, info = self.env.step(action)
        observation, info, is_empty = self._masked(observation, info, is_over=bool(terminated or truncated))
        if is_empty and self._no_legal == "truncate":
            truncated, info = True, {key: entry for key, entry in info.items() if key != FAULT}
        return observation, reward, terminated, truncated, info

    def _masked(self, observation: Any, info: dict[str, Any], *, is_over: bool) -> tuple[Any, dict[str, Any], bool]:
        observation, found = self._find(observation, info)
        mask, fault, is_empty = checked_mask(found, self.env.action_space, is_over=is_over)
        fault = None if is_empty and self._no_legal == "all" else fault
        return observation, {**info, MASK: mask, **({} if fault is None else {FAULT: fault})}, is_empty

    def _find(self, observation: Any, info: Mapping[str, Any]) -> tuple[Any, Any]:
        """The observation without the mask, and the mask."""
        if self._mask_key is not None:
            rest = {key: entry for key, entry in observation.items() if key != self._mask_key}
            return rest if self._only is None else rest[self._only], observation.get(self._mask_key)
        if MASK in info:
            return observation, info[MASK]
        return observation, None if self._method is None else self._method()


def mask_method(env: gym.Env[Any, Any]) -> Any:
    """The ``action_masks`` method of an environment or of one that it wraps; None if neither has one."""
    method = env.get_wrapper_attr("action_masks") if env.has_wrapper_attr("action_masks") else None
    return method if callable(method) else None


def checked_mask(found: Any, space: spaces.Space[Any], *, is_over: bool) -> CheckedMask:
    """The flat form of an environment's mask, while an episode runs or at its end (``is_over``).

    No action follows the end: there a missing mask, or a branch without a legal action, becomes all legal.
    """
    sizes, _ = choices(space)
    every = np.ones(sum(sizes), dtype=np.bool_)
    if found is None:
        missing = "the action mask is missing; return one after every reset and step"
        return CheckedMask(every, None if is_over else missing)
    try:
        mask = flat_mask(found, space)
    except ValueError as wrong:
        return CheckedMask(every, str(wrong))
    return _with_choice(mask, sizes, is_over=is_over)


def _with_choice(mask: NDArray[np.bool_], sizes: Sequence[int], *, is_over: bool) -> CheckedMask:
    """The mask, with a fault if a branch has no legal action."""
    stops = np.cumsum([0, *sizes])
    empty = [d for d, (start, stop) in enumerate(pairwise(stops)) if not mask[start:stop].any()]
    if not empty:
        return CheckedMask(mask, None)
    for d in empty:
        mask[stops[d] : stops[d + 1]] = True
    if is_over:
        return CheckedMask(mask, None)
    branch = f" in branch {empty[0]}" if len(sizes) > 1 else ""
    remedy = "end the episode in such a state, or allow an action without effect; or set env.no_legal=truncate or all"
    return CheckedMask(mask, f"the action mask allows no action{branch}; {remedy}", is_empty=True)


def flat_mask(mask: Any, space: spaces.Space[Any]) -> NDArray[np.bool_]:
    """A mask of one action as booleans ``[ΣA]``.

    Args:
        mask: booleans or 0/1 of any type: ``[n]`` for Discrete; flat ``[ΣA]``, or an array per branch, nested as the
            space is, for MultiDiscrete, Tuple and Dict; ``[2n]`` for MultiBinary, or ``[n]`` integers as in
            Gymnasium's ``sample``: 0 or 1 is the only legal value of that bit, 2 allows both.
        space: the action space.

    Raises:
        ValueError: another shape or type.

    >>> flat_mask((np.array([0, 1]), np.array([1, 1, 0])), spaces.MultiDiscrete([2, 3]))
    array([False,  True,  True,  True, False])
    >>> flat_mask(np.array([0, 1, 2]), spaces.MultiBinary(3))
    array([ True, False, False,  True,  True,  True])
    """
    if isinstance(space, spaces.Tuple | spaces.Dict) and (parts := _parts(mask, space)) is not None:
        return np.concatenate([flat_mask(part, entry) for part, entry in parts])
    (sizes, _), rows = choices(space), _rows(mask)
    flat = np.concatenate(rows) if rows else np.zeros(0, dtype=np.bool_)
    if isinstance(space, spaces.MultiBinary) and flat.size == len(sizes):
        return _of_samples(flat)
    branch_ends, row_ends = (np.cumsum([len(part) for part in parts]) for parts in ([range(n) for n in sizes], rows))
    is_nested = isinstance(space, spaces.Discrete) and np.ndim(mask) != 1
    if flat.size != sum(sizes) or not set(row_ends) <= set(branch_ends) or is_nested:
        found = f"rows of sizes {[len(row) for row in rows]}" if len(rows) > 1 else f"{flat.size}"
        found += f" in {np.ndim(mask)} dimensions" if is_nested else ""
        raise ValueError(f"an action mask for {space} needs {_expected(sizes)}, but has {found}")
    return _booleans(flat)


def _parts(mask: Any, space: spaces.Tuple | spaces.Dict) -> list[tuple[Any, spaces.Space[Any]]] | None:
    """The mask of each entry of a space, with that entry; None for a mask that is not nested like it."""
    if isinstance(space, spaces.Dict):
        is_like = isinstance(mask, Mapping) and mask.keys() == space.spaces.keys()
        return [(mask[key], entry) for key, entry in space.items()] if is_like else None
    is_like = isinstance(mask, tuple | list) and len(mask) == len(space.spaces) and any(map(np.ndim, mask))
    return list(zip(mask, space, strict=True)) if is_like else None


def _expected(sizes: Sequence[int]) -> str:
    total = f"{sum(sizes)} entries"
    return total if len(sizes) == 1 else f"{total}, or rows of sizes {list(sizes)}"


def _rows(mask: Any) -> list[NDArray[Any]]:
    """The one-dimensional parts of a nested mask, in C order."""
    if isinstance(mask, np.ndarray) and mask.dtype == object:
        mask = list(mask)
    if isinstance(mask, tuple | list) and any(isinstance(part, tuple | list | np.ndarray) for part in mask):
        return [row for part in mask for row in _rows(part)]
    numbers = np.asarray(mask)
    if numbers.dtype.kind not in "biuf":
        kind = type(mask).__name__ if numbers.dtype == object else str(numbers.dtype)
        raise ValueError(f"the action mask is of type {kind}; {_OTHER}")
    return list(numbers.reshape(-1, numbers.shape[-1])) if numbers.size and numbers.ndim else [numbers.reshape(-1)]


def _of_samples(mask: NDArray[Any]) -> NDArray[np.bool_]:
    """From Gymnasium's mask of bits, ``[n]``, to ``[2n]``."""
    if mask.dtype == np.bool_ or not np.isin(mask, (0, 1, 2)).all():
        n, found = len(mask), "booleans" if mask.dtype == np.bool_ else _odd(mask, (0, 1, 2))
        raise ValueError(
            f"an action mask of {n} entries for {n} bits must hold 0, 1 or 2 (both legal), but holds {found}; or give "
            f"{2 * n} booleans: for each bit, whether 0 and whether 1 is legal"
        )
    return np.stack([mask != 1, mask != 0], -1).reshape(-1)


def _booleans(mask: NDArray[Any]) -> NDArray[np.bool_]:
    if mask.dtype != np.bool_ and not ((mask == 0) | (mask == 1)).all():
        raise ValueError(f"the action mask holds {_odd(mask, (0, 1))}; {_OTHER}")
    return mask.astype(np.bool_)


def _odd(mask: NDArray[Any], allowed: tuple[int, ...]) -> str:
    odd = mask[~np.isin(mask, allowed)][:3]
    return f"{', '.join(map(str, odd.tolist()))} ({mask.dtype})"


def native_masks(
    found: Any, given: NDArray[np.bool_], space: spaces.Space[Any], done: NDArray[np.bool_]
) -> list[CheckedMask]:
    """The E masks of a vector environment that gives them for all its environments at once.

    Args:
        found: an array ``[E, …]`` of masks, or a tuple of such arrays, one per branch.
        given: which environments gave a mask, ``[E]``.
        space: the action space of one environment.
        done: where an episode is over, ``[E]``.
    """
    rows = zip(*found, strict=True) if isinstance(found, tuple) else found
    pairs = zip(rows, given, done, strict=True)
    return [checked_mask(row if has else None, space, is_over=bool(over)) for row, has, over in pairs]


def _without(space: spaces.Space[Any], mask_key: str) -> tuple[spaces.Space[Any], str | None]:
    """The observation space without the mask, and the key of the other entry if it is the only one."""
    if not isinstance(space, spaces.Dict) or mask_key not in space.spaces or len(space.spaces) < 2:
        found = f"has the keys {', '.join(space.spaces)}" if isinstance(space, spaces.Dict) else f"is {space}"
        raise ValueError(f"mask_key={mask_key!r} must name one of several entries of a Dict observation, but this one "
                         f"{found}")  # fmt: skip
    rest = {key: entry for key, entry in space.spaces.items() if key != mask_key}
    only = next(iter(rest)) if len(rest) == 1 else None
    return (spaces.Dict(rest), None) if only is None else (rest[only], only)


def hidden_mask(env: gym.Env[Any, Any]) -> str | None:
    """The fault of a mask in the observation without ``mask_key``: the network would see it, but nothing obey it."""
    entries = env.observation_space.spaces if isinstance(env.observation_space, gym.spaces.Dict) else {}
    if MASK not in entries:
        return None
    return f"the observation has an entry {MASK!r}, but env.mask_key is null; set env.mask_key={MASK}"
