"""The description of an action: the sizes of its choices, their encoding, and the form the environment takes.

=============  ===================================  ===================  =======================
Gymnasium      encoding                             index, as stored     the environment takes
=============  ===================================  ===================  =======================
Discrete       categorical, one-hot                 ``[*B]``             int, from its start
MultiDiscrete  multi-categorical, mult-one-hot      ``[*B, D]``          int array, from its starts
MultiBinary    the same, as branches of two         ``[*B, D]``          int8 array
both, small    enumerated, written as categorical   ``[*B]``             the same arrays
Box, in bins   as MultiDiscrete or enumerated       as above             float array, a value per bin
=============  ===================================  ===================  =======================

Shapes: ``*B`` any batch, ``D`` branches (the single choices of a joint action), ``ΣA`` the actions of all branches side
by side, ``A`` those of the largest branch, ``N`` outputs per action. A mask is boolean, True where an action is legal.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import pad

from qframe.functional.action import greedy, lowest, mask_values

ENCODINGS = ("categorical", "one-hot", "mult-one-hot", "multi-categorical", "binary")
JOINT_ENCODINGS = ("mult-one-hot", "multi-categorical")
SYNONYMS = {"multi-one-hot": "mult-one-hot", "multi-discrete": "multi-categorical"}


@dataclass(frozen=True)
class ActionSpace:
    """One choice, or several at once (the branches of a joint action), and conversions between its three forms.

    The *index* is stored in the replay and passed to exploration: int64 ``[*B]``, for a joint action ``[*B, D]``. The
    *action* is written by networks and read by losses, in the layout of ``encoding``. The third form is the argument
    of ``env.step``. Inside a network and a loss the branches are a batch dimension in front, ``[D, *B, A]``, so that
    a transition's other entries broadcast over them; smaller branches are padded, and padding is never legal.

    Args:
        encoding: ``categorical`` (an index), ``one-hot``, ``multi-categorical`` (an index per branch), ``mult-one-hot``
            (one-hot vectors side by side), or ``binary`` (bits, each with one value, taken where it is positive; their
            indices are those of branches of two).
        sizes: the number of actions of every branch. An int is the size of the only branch, the number of bits, or the
            common size of a joint action's branches, however many; None takes it from the values.
        joint: how the branches of a joint action are trained: ``branching`` (each values the whole action), or their
            ``sum`` or ``mean`` is the value of the action.
        factors: of an enumerated joint action, the sizes of the choices that its single index combines; the last one
            varies fastest.
        starts: the environment's number for the first action of each choice; empty: 0.
        values: the environment's number for every action of each choice, ascending; empty: whole numbers from
            its start.
        shape: of the environment's action.
        dtype: of the environment's action.

    Raises:
        ValueError: an unknown encoding, a size that is not a positive integer, or no sizes for a joint action.

    >>> space = ActionSpace("one-hot", 3, starts=(5,))
    >>> index = space.encode(torch.tensor([0, 0, 1]))
    >>> index, space.decode(index), space.to_env(index)
    (tensor(2), tensor([0, 0, 1]), 7)
    >>> joint = ActionSpace("multi-categorical", (2, 3))
    >>> joint.greedy_index(torch.tensor([0.0, 1.0, 5.0, 4.0, 4.5]), torch.tensor([True, False, False, True, True]))
    tensor([0, 2])
    """

    encoding: str
    sizes: int | tuple[int, ...] | None = None
    joint: Literal["branching", "sum", "mean"] = field(default="branching", kw_only=True)
    factors: tuple[int, ...] = field(default=(), kw_only=True)
    starts: tuple[int, ...] = field(default=(), kw_only=True)
    values: tuple[tuple[float, ...], ...] = field(default=(), kw_only=True)
    shape: tuple[int, ...] = field(default=(), kw_only=True)
    dtype: Any = field(default=np.dtype(np.int64), kw_only=True)

    is_joint: bool = field(init=False, compare=False)
    """Whether an index has a branch dimension."""

    def __post_init__(self) -> None:
        encoding, sizes = canonical_name(self.encoding), self.sizes
        if encoding in JOINT_ENCODINGS:
            if sizes is None:
                raise ValueError(f"{encoding} needs var_nums, the sizes of its components; give them or a spec")
            sizes = positive_size(sizes, "var_nums") if isinstance(sizes, int) else branch_sizes(sizes, "var_nums")
        elif isinstance(sizes, int):
            size = positive_size(sizes, "the number of actions")
            sizes = (2,) * size if encoding == "binary" else (size,)
        for name, value in (("encoding", encoding), ("sizes", sizes), ("is_joint", encoding not in _SINGLE)):
            object.__setattr__(self, name, value)

    def __str__(self) -> str:
        if not self.has_sizes:
            return self.encoding
        sizes = f"{self.encoding}({', '.join(map(str, self.known_sizes))})"
        bins = dict.fromkeys(", ".join(f"{value:.3g}" for value in values) for values in self.values)
        return sizes + (f" of the values {' and '.join(bins)}" if bins else "")

    @property
    def has_sizes(self) -> bool:
        """Whether the number of actions is known; it is not if the space was given by name."""
        return isinstance(self.sizes, tuple)

    @property
    def known_sizes(self) -> tuple[int, ...]:
        """The number of actions of every branch.

        Raises:
            ValueError: it is not known.
        """
        if not isinstance(self.sizes, tuple):
            raise ValueError(f"the number of actions of {self.encoding!r} is unknown; give a spec in place of the name")
        return self.sizes

    @cached_property
    def width(self) -> int:
        """ΣA, the number of scores that an index is chosen from."""
        return sum(self.known_sizes)

    @property
    def num_actions(self) -> int:
        """The number of action values that a network writes: ΣA, or one per bit of a binary action."""
        return len(self.known_sizes) if self.encoding == "binary" else self.width

    @property
    def var_nums(self) -> int | tuple[int, ...] | None:
        """The sizes of a joint action's branches, as TorchRL names them; None for all others."""
        return self.sizes if self.encoding in JOINT_ENCODINGS else None

    def sizes_of(self, width: int) -> tuple[int, ...]:
        """The branch sizes of values whose last dimension is ``width``.

        Raises:
            ValueError: they do not add up to ``width``.

        >>> ActionSpace("mult-one-hot", 2).sizes_of(6)
        (2, 2, 2)
        """
        if not self.is_joint or self.sizes is None:
            return (width,)
        sizes = (self.sizes,) * (width // self.sizes) if isinstance(self.sizes, int) else self.sizes
        if sum(sizes) != width:
            raise ValueError(
                f"var_nums = {self.sizes} must add up to {width}, the last dimension of the values; "
                "give one value per action of every component"
            )
        return sizes

    # ── The layout of networks and losses ─────────────────────────────────────────────────────────────────────────

    def encode(self, action: Tensor) -> Tensor:
        """The index of an action; for a one-hot vector, that of its first maximum."""
        if self.encoding == "one-hot":
            return _first_one(action)
        if self.encoding == "mult-one-hot":
            parts = action.split(self.sizes_of(action.shape[-1]), -1)
            return torch.stack([_first_one(part) for part in parts], -1)
        return action.long()

    def decode(self, index: Tensor) -> Tensor:
        """The action of an index, int64."""
        return self._written(index, self.known_sizes) if "one-hot" in self.encoding else index

    def _written(self, index: Tensor, sizes: Sequence[int]) -> Tensor:
        if self.encoding == "one-hot":
            return to_one_hot(index, sizes[0])
        if self.encoding == "mult-one-hot":
            return torch.cat([to_one_hot(i, n) for i, n in zip(index.unbind(-1), sizes, strict=True)], -1)
        return index

    def greedy_action(self, value: Tensor, mask: Tensor | None = None) -> Tensor:
        """The action of the greatest value over legal actions, int64, in the layout of the encoding.

        A tie goes to the first maximum. A row with NaN or with no legal action still gives an action of the space.

        Args:
            value: action values ``[*B, A]`` of any dtype, those of all branches side by side.
            mask: legal actions, broadcastable to ``value``.

        Returns:
            categorical ``[*B]``; multi-categorical ``[*B, D]``; all others ``[*B, A]``.

        Raises:
            TypeError: the mask is not boolean.
            ValueError: the branches do not add up to A.

        >>> ActionSpace("mult-one-hot", (2, 3)).greedy_action(torch.tensor([0.0, 1.0, 5.0, 5.0, 2.0]))
        tensor([0, 1, 1, 0, 0])
        """
        if self.encoding == "binary":
            return (mask_values(value, mask) > 0).long()
        return self._written(self.greedy_index(value, mask), self.sizes_of(value.shape[-1]))

    def chosen_value(self, value: Tensor, action: Tensor) -> Tensor:
        """The value of an action, in the dtype of the values: an entry, or a joint action's sum over branches.

        A row with NaN gives NaN; otherwise entries that were not chosen, even ±inf, have no effect. After
        ``mask_values`` a branch without a legal action makes the whole sum the lowest finite number.

        Args:
            value: action values ``[*B, A]``.
            action: as ``greedy_action`` gives it.

        Returns:
            ``[*B, 1]``.

        >>> ActionSpace("binary").chosen_value(torch.tensor([1.5, -torch.inf, 2.0]), torch.tensor([1, 0, 1]))
        tensor([3.5000])
        """
        if self.encoding == "binary":
            return _sum(torch.where((action != 0) | value.isnan(), value, 0))
        parts = self.taken(value, self.encode(action))  # [*B, D]
        floor = lowest(parts.dtype)
        if not self.is_joint:
            return parts
        return _sum(parts) if floor == 0 else torch.where((parts == floor).any(-1, keepdim=True), floor, _sum(parts))

    # ── Indices ───────────────────────────────────────────────────────────────────────────────────────────────────

    def greedy_index(self, score: Tensor, mask: Tensor | None = None) -> Tensor:
        """The legal index of the greatest score in each branch: ``[*B, ΣA]`` → ``[*B]`` or ``[*B, D]``.

        ``mask`` is broadcastable to ``score``.
        """
        if not self.is_joint:
            return greedy(score, mask)
        sizes = self.sizes_of(score.shape[-1])
        mask = None if mask is None else mask.expand_as(score)
        if min(sizes) == max(sizes):
            branches = (len(sizes), sizes[0])
            return greedy(score.unflatten(-1, branches), None if mask is None else mask.unflatten(-1, branches))
        masks = [None] * len(sizes) if mask is None else mask.split(sizes, -1)
        return torch.stack([greedy(part, legal) for part, legal in zip(score.split(sizes, -1), masks, strict=True)], -1)

    def random_index(self, like: Tensor, mask: Tensor | None, generator: torch.Generator) -> Tensor:
        """Uniformly random legal indices, with the batch and device of ``like``: the argmax of ΣA random scores."""
        score = torch.rand(*self.batch(like), self.width, generator=generator, device=generator.device)
        return self.greedy_index(score.to(like.device), None if mask is None else mask.to(like.device))

    def batch(self, index: Tensor) -> torch.Size:
        """The batch shape ``*B`` of indices."""
        return index.shape[:-1] if self.is_joint else index.shape

    def over_branches(self, flag: Tensor) -> Tensor:
        """``flag`` ``[*B]``, reshaped to broadcast against an index."""
        return flag.unsqueeze(-1) if self.is_joint else flag

    def agree(self, index: Tensor, other: Tensor) -> Tensor:
        """Where two indices are the same in every branch, bool ``[*B]``."""
        return (index == other).all(-1) if self.is_joint else index == other

    def taken(self, x: Tensor, index: Tensor) -> Tensor:
        """The entries of ``x`` ``[*B, ΣA]`` that belong to an index, one per branch ``[*B, D]``."""
        if not self.is_joint:
            return x.gather(-1, index.unsqueeze(-1))
        parts = zip(x.split(self.sizes_of(x.shape[-1]), -1), index.split(1, -1), strict=True)
        return torch.cat([part.gather(-1, at) for part, at in parts], -1)

    def is_legal(self, index: Tensor, mask: Tensor) -> Tensor:
        """Where an index is legal in every branch, bool ``[*B]``."""
        return self.taken(mask, index).all(-1)

    def num_legal(self, index: Tensor, mask: Tensor | None) -> Tensor:
        """The number of legal actions, a product over branches, float ``[*B]``, the batch of ``index``."""
        batch, sizes = self.batch(index), self.known_sizes
        if mask is None:
            return torch.tensor(float(math.prod(sizes))).expand(batch)
        parts = mask.expand(*batch, self.width).split(sizes, -1)
        return torch.stack([part.sum(-1) for part in parts]).float().prod(0)

    def check_mask(self, mask: Tensor) -> None:
        """Check that every branch of every environment has a legal action.

        Args:
            mask: legal actions ``[*B, ΣA]``.

        Raises:
            TypeError: the mask is not boolean.
            ValueError: its last dimension is not ΣA.
            RuntimeError: an environment has no legal action; the message names it.
        """
        check_boolean(mask)
        if mask.shape[-1] != self.width:
            raise ValueError(f"expected an action mask with {self.width} entries per environment, got {[*mask.shape]}")
        if mask.is_meta:
            return
        legal = torch.stack([part.any(-1) for part in mask.split(self.known_sizes, -1)])  # [D, *B]
        if not bool(legal.all()):
            index = (~legal.all(0)).nonzero()[0].tolist()
            where = index[0] if len(index) == 1 else tuple(index)
            raise RuntimeError(
                f"environment {where} has no legal action; end the episode in such a state, or allow an action "
                "without effect"
            )

    def check_action(self, action: Tensor, width: int, *, reads: bool) -> None:
        """Check that actions in the layout of the encoding are among those of ``width`` action values.

        Args:
            action: as a loss reads it.
            width: the last dimension of the action values.
            reads: whether the numbers are checked as well, and not the shape alone.

        Raises:
            ValueError: a wrong last dimension, an index out of range, or a vector that is not one-hot.

        >>> ActionSpace("categorical").check_action(torch.tensor([0, 4]), 4, reads=True)
        Traceback (most recent call last):
        ValueError: expected action indices from 0 to 3, got 0 to 4
        """
        sizes, is_hot = self.sizes_of(width), "one-hot" in self.encoding
        entries = width if is_hot else len(sizes)
        if (is_hot or self.is_joint) and action.shape[-1:] != (entries,):
            other = {"one-hot": "categorical", "mult-one-hot": "multi-categorical"}.get(self.encoding)
            hint = f"; for indices use action_space={other!r}" if other else ""
            raise ValueError(
                f"expected {self.encoding} actions with {entries} entries in the last dimension, got shape "
                f"{[*action.shape]}{hint}"
            )
        if not reads or not action.numel():
            return
        if is_hot:
            ones = torch.stack([part.sum(-1) for part in action.split(sizes, -1)])
            if not bool(((action == 0) | (action == 1)).all() & (ones == 1).all()):
                raise ValueError(f"expected {self.encoding} actions with a single 1 per choice, got other vectors")
            return
        for part, size in zip(action.split(1, -1) if self.is_joint else [action], sizes, strict=True):
            low, high = int(part.min()), int(part.max())
            if low < 0 or high >= size:
                raise ValueError(f"expected action indices from 0 to {size - 1}, got {low} to {high}")

    # ── Branches in front, in networks and losses ─────────────────────────────────────────────────────────────────

    def split(self, out: Tensor) -> Tensor:
        """Outputs ``[*B, ΣA, N]`` → ``[D, *B, A, N]``, each branch padded with its first; unchanged for one choice.

        >>> ActionSpace("multi-categorical", (1, 3)).split(torch.tensor([[5.0], [1.0], [2.0], [3.0]])).squeeze(-1)
        tensor([[5., 5., 5.],
                [1., 2., 3.]])
        """
        if not self.is_joint:
            return out
        sizes = self.sizes_of(out.shape[-2])
        most = max(sizes)
        if min(sizes) == most:
            return out.unflatten(-2, (-1, most)).movedim(-3, 0)
        return torch.stack([_padded(part, most) for part in out.split(sizes, -2)])

    def join(self, value: Tensor) -> Tensor:
        """Action values ``[D, *B, A]`` → ``[*B, ΣA]``; unchanged for one choice."""
        if not self.is_joint:
            return value
        sizes = (value.shape[-1],) * len(value) if isinstance(self.sizes, int) else self.known_sizes
        return torch.cat([part[..., :size] for part, size in zip(value, sizes, strict=True)], -1)

    acting_value = join

    def split_mask(self, mask: Tensor | None, batch: Sequence[int], device: torch.device) -> Tensor | None:
        """Legal actions broadcastable to ``[D, *B, A]`` from a mask broadcastable to ``[*B, ΣA]``; None: all are.

        >>> ActionSpace("multi-categorical", (1, 3)).split_mask(None, (), torch.device("cpu"))
        tensor([[ True, False, False],
                [ True,  True,  True]])
        """
        if not self.is_joint:
            return mask
        if mask is None:
            return None if isinstance(self.sizes, int) else self._no_padding(len(batch), device)
        mask = mask.expand(*batch, mask.shape[-1])
        sizes = self.sizes_of(mask.shape[-1])
        most = max(sizes)
        if min(sizes) == most:
            return mask.unflatten(-1, (-1, most)).movedim(-2, 0)
        return torch.stack([pad(part, (0, most - part.shape[-1])) for part in mask.split(sizes, -1)])  # [D, *B, A]

    def _no_padding(self, dims: int, device: torch.device) -> Tensor | None:
        """Where an action is not padding, ``[D, 1, …, A]``; None: everywhere."""
        sizes = self.known_sizes
        most = max(sizes)
        if min(sizes) == most:
            return None
        real = torch.stack([torch.arange(most, device=device) < size for size in sizes])  # [D, A]
        return real.view(len(sizes), *[1] * dims, most)

    def split_index(self, index: Tensor) -> Tensor:
        """An index per branch, ``[*B, D]`` → ``[D, *B]``; unchanged for one choice."""
        return index.movedim(-1, 0) if self.is_joint else index

    # ── The environment ───────────────────────────────────────────────────────────────────────────────────────────

    @property
    def choices(self) -> tuple[int, ...]:
        """The sizes of the environment's own choices, side by side in its masks."""
        return self.factors or self.known_sizes

    @cached_property
    def _starts(self) -> NDArray[np.int64] | int:
        if not any(self.starts):
            return 0
        return np.array(self.starts, dtype=np.int64) if self.shape else self.starts[0]

    @cached_property
    def _values(self) -> list[NDArray[np.float64]]:
        return [np.array(values) for values in self.values]

    def legal(self, mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """The mask ``[*B, ΣA]`` of indices from an environment's mask of its own choices side by side.

        An enumerated action is legal where all its choices are.
        """
        if not self.factors:
            return mask
        legal = np.ones((*mask.shape[:-1], 1), dtype=np.bool_)
        for part in np.split(mask, np.cumsum(self.factors)[:-1], axis=-1):
            legal = (legal[..., None] & part[..., None, :]).reshape(*mask.shape[:-1], -1)
        return legal

    def to_env(self, index: Tensor | int) -> NDArray[Any] | int:
        """The argument of ``env.step``: an int, or an array of the environment's shape and dtype; E for E indices."""
        choice = np.asarray(index.cpu() if isinstance(index, Tensor) else index)
        if self.factors:
            choice = np.stack(np.unravel_index(choice, self.factors), -1)  # [*B, D]
        action = choice + self._starts
        if self.values:
            action = np.stack([values[choice[..., d]] for d, values in enumerate(self._values)], -1)
        if not self.shape:
            action = action.astype(np.int64, copy=False)
            return int(action) if action.ndim == 0 else action
        return action.reshape(*action.shape[:-1], *self.shape).astype(self.dtype)

    def from_env(self, action: NDArray[Any] | int) -> Tensor:
        """The index, int64, of one or several actions in the environment's form; of the nearest values of a Box.

        Raises:
            ValueError: an action outside the space.
        """
        numbers = np.asarray(action, dtype=None if self.values else np.int64)
        batch = numbers.shape[: numbers.ndim - len(self.shape)]
        choice = numbers.reshape(*batch, len(self.choices)) - self._starts  # [*B, D]
        if self.values:
            apart = [np.abs(choice[..., d, None] - values) for d, values in enumerate(self._values)]
            choice = np.stack([distance.argmin(-1) for distance in apart], -1)
        if not ((choice >= 0) & (choice < np.array(self.choices))).all():
            raise ValueError(f"expected {self._domain()}, got {numbers.tolist()}")
        if self.factors:
            return torch.as_tensor(np.ravel_multi_index(tuple(np.moveaxis(choice, -1, 0)), self.factors))
        return torch.as_tensor(choice if self.is_joint else choice[..., 0])

    def _domain(self) -> str:
        if self.shape:
            return f"actions of {list(self.choices)} choices"
        return f"actions from {self._starts} to {self._starts + self.choices[0] - 1}"


_SINGLE = ("categorical", "one-hot")


def canonical_name(name: str) -> str:
    """The canonical name of an encoding; dashes and underscores are equivalent.

    Raises:
        ValueError: the name is unknown.

    >>> canonical_name("one_hot"), canonical_name("multi-discrete")
    ('one-hot', 'multi-categorical')
    """
    dashed = name.strip().lower().replace("_", "-")
    dashed = SYNONYMS.get(dashed, dashed)
    if dashed not in ENCODINGS:
        raise ValueError(f"expected action_space to be one of {', '.join(ENCODINGS)}, got {name!r}")
    return dashed


def positive_size(size: Any, name: str) -> int:
    """``size`` as an int of at least 1.

    Raises:
        ValueError: it is not.
    """
    if isinstance(size, bool) or not hasattr(size, "__index__") or int(size) < 1:
        raise ValueError(f"expected {name} to be an integer of at least 1, got {size!r}")
    return int(size)


def branch_sizes(sizes: Iterable[int], name: str) -> tuple[int, ...]:
    """The sizes of a joint action's branches, each at least 1.

    Raises:
        ValueError: there are none, or one is not a positive integer.
    """
    checked = tuple(positive_size(size, f"every size in {name}") for size in sizes)
    if not checked:
        raise ValueError(f"expected {name} to list the size of at least one component, got an empty list")
    return checked


def check_boolean(mask: Tensor) -> None:
    """Check that a mask is boolean.

    Raises:
        TypeError: it is not boolean.
    """
    if mask.dtype is not torch.bool:
        raise TypeError(f"expected a boolean action mask (True = legal), got {mask.dtype}; use mask.bool()")


def to_one_hot(index: Tensor, n: int) -> Tensor:
    """The one-hot form of indices, int64 ``[*B, n]``.

    >>> to_one_hot(torch.tensor([2, 0]), 3)
    tensor([[0, 0, 1],
            [1, 0, 0]])
    """
    return (index.unsqueeze(-1) == torch.arange(n, device=index.device)).long()  # [*B, n]


def _first_one(action: Tensor) -> Tensor:
    return action.to(torch.int8).argmax(-1)


def _padded(part: Tensor, size: int) -> Tensor:
    """``[*B, n, N]`` with its first entry repeated at the end, ``[*B, size, N]``."""
    missing = size - part.shape[-2]
    first = part[..., :1, :]
    return torch.cat([part, first.expand(*part.shape[:-2], missing, -1)], -2) if missing else part


def _sum(parts: Tensor) -> Tensor:
    """The sum over the last dimension in the dtype of the parts; integers stay within their own range, ``[*B, 1]``."""
    total = parts.sum(-1, keepdim=True)
    if parts.dtype.is_floating_point:
        return total
    limits = torch.iinfo(parts.dtype)
    return total.clamp(limits.min, min(limits.max, torch.iinfo(total.dtype).max)).to(parts.dtype)
