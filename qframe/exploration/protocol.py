"""What every exploration part shares: the interface that a collector asks of it, and draws over legal actions."""

import math
from collections.abc import Mapping
from typing import Any, Protocol

import torch
from torch import Tensor

from qframe.actions.greedy import greedy_action
from qframe.actions.specs.base import DiscreteSpec
from qframe.actions.specs.layout import ActionLayout


class Exploration(Protocol):
    """Turns greedy actions into behaviour.

    Actions are indices ``[E]``, or ``[E, D]`` with one per branch of a joint action; masks and action values are
    ``[E, A]``, those of all branches side by side.
    """

    has_probability: bool
    """Whether ``probability`` can be told; an estimator that needs it (Retrace) is refused otherwise."""

    reads_members: bool
    """Whether ``value`` is to hold every ensemble member's action values ``[K, E, A]`` in place of their mean."""

    @property
    def metrics(self) -> Mapping[str, float]:
        """What is logged under ``exploration/``."""
        ...

    def explore(self, action: Tensor, mask: Tensor | None = None, value: Tensor | None = None) -> Tensor:
        """The actions taken in place of the greedy ``action``, all of them legal.

        Args:
            action: greedy indices.
            mask: legal actions, bool; None: all are.
            value: action values, for parts that read them.

        Raises:
            RuntimeError: an environment has no legal action; it is named.
        """
        ...

    def probability(self, action: Tensor, value: Tensor, mask: Tensor | None = None) -> Tensor:
        """μ(a|s) ``[E]``: how likely the behaviour policy, as it is now, was to take the action it has just taken."""
        ...

    def stored(self) -> dict[str, Tensor]:
        """What is stored with the transitions of the actions just taken, ``[E, …]`` each."""
        ...

    def step(self, frames: int = 1, done: Tensor | None = None) -> None:
        """Count environment steps.

        Args:
            frames: steps, summed over environments.
            done: where an episode ended, bool ``[E]``; None: nowhere.
        """
        ...

    def state_dict(self) -> dict[str, Any]:
        """All that a resumed run goes on from, generators included."""
        ...

    def load_state_dict(self, state_dict: Any) -> Any:
        """Go on from a saved state."""
        ...


class ActionIndices:
    """The indices of a spec's actions, one per branch of a joint action: which are best, and how many are legal.

    A bit of a ``Binary`` spec is a branch of two values.

    Args:
        spec: of the action.

    >>> from qframe.actions import MultiCategorical
    >>> indices = ActionIndices(MultiCategorical([2, 3]))
    >>> indices.best(torch.tensor([[0.0, 1.0, 5.0, 4.0, 4.5]]), torch.tensor([[True, False, False, True, True]]))
    tensor([[0, 2]])
    """

    def __init__(self, spec: DiscreteSpec) -> None:
        self.is_joint = spec.action_space not in ("categorical", "one-hot")
        is_binary = spec.action_space == "binary"
        self.sizes: tuple[int, ...] = (2,) * spec.num_actions if is_binary else spec.var_nums or (spec.num_actions,)
        self.width = sum(self.sizes)  # ΣA
        self._layout = ActionLayout("multi-categorical", self.sizes) if self.is_joint else ActionLayout("categorical")

    def best(self, score: Tensor, mask: Tensor | None = None) -> Tensor:
        """The legal index of the greatest score in each branch: ``[*B, ΣA]`` → ``[*B]`` or ``[*B, D]``."""
        return greedy_action(self._layout, score, mask)

    def random(self, action: Tensor, mask: Tensor | None, generator: torch.Generator) -> Tensor:
        """Indices like ``action``, uniform over the legal ones of each branch; drawn on the generator's device."""
        score = torch.rand(*self.batch(action), self.width, generator=generator, device=generator.device)
        return self.best(score.to(action.device), None if mask is None else mask.to(action.device))

    def batch(self, action: Tensor) -> torch.Size:
        """``*B`` of indices: one per environment."""
        return action.shape[:-1] if self.is_joint else action.shape

    def per_action(self, flag: Tensor) -> Tensor:
        """``[*B]`` with the dimensions that indices have, so that it broadcasts to them."""
        return flag.unsqueeze(-1) if self.is_joint else flag

    def agree(self, action: Tensor, other: Tensor) -> Tensor:
        """Where two actions are the same in every branch, bool ``[*B]``."""
        return (action == other).all(-1) if self.is_joint else action == other

    def num_legal(self, action: Tensor, mask: Tensor | None) -> Tensor:
        """How many joint actions are legal, the product over branches, float ``[*B]``."""
        batch = self.batch(action)
        if mask is None:
            return torch.tensor(float(math.prod(self.sizes))).expand(batch)
        parts = mask.expand(*batch, self.width).split(self.sizes, -1)
        return torch.stack([part.sum(-1) for part in parts]).float().prod(0)

    def taken(self, x: Tensor, action: Tensor) -> Tensor:
        """The entries of ``x`` ``[*B, ΣA]`` that belong to the action taken, one per branch ``[*B, D]``."""
        index = action if self.is_joint else action.unsqueeze(-1)  # [*B, D]
        parts = zip(x.split(self.sizes, -1), index.split(1, -1), strict=True)
        return torch.cat([part.gather(-1, at) for part, at in parts], -1)

    def are_legal(self, action: Tensor, mask: Tensor) -> Tensor:
        """Where an action is legal in every branch, bool ``[*B]``."""
        return self.taken(mask, action).all(-1)

    def check(self, mask: Tensor) -> None:
        """Every branch of every environment has a legal action.

        Raises:
            TypeError: the mask is not boolean.
            ValueError: its last dimension is not ΣA.
            RuntimeError: an environment has none; it is named.
        """
        check_legal(mask, self.sizes)


def check_legal(mask: Tensor, sizes: tuple[int, ...]) -> None:
    """Every component of every environment has a legal action.

    Args:
        mask: legal actions ``[*B, ΣA]``, the components' side by side.
        sizes: of the components.

    Raises:
        TypeError: the mask is not boolean.
        ValueError: its last dimension is not ΣA.
        RuntimeError: an environment has none; it is named.
    """
    check_boolean(mask)
    if mask.shape[-1] != sum(sizes):
        raise ValueError(f"expected an action mask with {sum(sizes)} entries per environment, got {[*mask.shape]}")
    if mask.is_meta:
        return
    legal = torch.stack([part.any(-1) for part in mask.split(sizes, -1)])  # [D, *B]
    if not bool(legal.all()):
        index = (~legal.all(0)).nonzero()[0].tolist()
        where = index[0] if len(index) == 1 else tuple(index)
        raise RuntimeError(
            f"expected a legal action in every environment, got none in environment {where}; "
            "an environment that cannot go on ends its episode"
        )


def check_boolean(mask: Tensor) -> None:
    """A mask says True or False.

    Raises:
        TypeError: it is not boolean.
    """
    if mask.dtype is not torch.bool:
        raise TypeError(f"expected a boolean action mask (True = legal), got {mask.dtype}; use mask.bool()")
