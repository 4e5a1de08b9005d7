"""The one place that encodes and decodes actions: what a network writes, what replay stores, what an environment takes.

==========  =====================  ==============  ===================
space       spec (the encoding)    stored          the environment gets
==========  =====================  ==============  ===================
Discrete    categorical, one-hot   index ``[*B]``  int, from its start
==========  =====================  ==============  ===================
"""

from collections.abc import Callable
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

import numpy as np
import torch
from gymnasium import Space, spaces
from numpy.typing import NDArray
from torch import Tensor

from qframe.data.specs_base import DiscreteSpec
from qframe.data.specs_discrete import Categorical, OneHot, to_one_hot
from qframe.data.specs_layout import ACTION_SPACES, canonical_name

SPECS: dict[str, type[Categorical] | type[OneHot]] = {"categorical": Categorical, "one-hot": OneHot}
"""The encodings that fit a Discrete space; the first is what ``auto`` picks."""

REFUSED: dict[str, str] = {
    "MultiDiscrete": "a joint action of several numbers is not trained; enumerate them as one Discrete space",
    "MultiBinary": "a joint action of several bits is not trained; enumerate them as one Discrete space",
    "Box": "continuous actions have no finite set of action values; map a few chosen actions to a Discrete space",
    "Dict": "a group of actions has no single greedy choice; flatten it to a Discrete space",
    "Tuple": "a group of actions has no single greedy choice; flatten it to a Discrete space",
    "Text": "there is no action value per text; map chosen texts to a Discrete space",
    "Sequence": "actions of varying length have no fixed set of action values",
    "Graph": "graphs have no fixed set of action values",
    "OneOf": "a choice among spaces has no fixed set of action values; map chosen actions to a Discrete space",
}
"""Gymnasium action spaces that are not trained on, and why."""


@dataclass(frozen=True)
class ActionSpace:
    """The actions of an environment in three forms: the spec's layout, the stored index, and what ``env.step`` takes.

    Args:
        spec: the layout in which networks write actions.
        start: the environment's number of the first action.

    >>> space = ActionSpace.from_space(spaces.Discrete(3, start=5), "one-hot")
    >>> space.spec, space.num_actions
    (OneHot(3), 3)
    >>> index = space.encode(torch.tensor([0, 0, 1]))
    >>> index, space.decode(index), space.to_env(index)
    (tensor(2), tensor([0, 0, 1]), 7)
    """

    spec: DiscreteSpec
    start: int = 0

    @classmethod
    def from_space(cls, space: Space[Any], encoding: str = "auto") -> "ActionSpace":
        """The action space of a Gymnasium environment (its single one, not the vectorised one).

        Args:
            space: the environment's action space.
            encoding: ``auto``, ``categorical`` or ``one-hot``.

        Raises:
            ValueError: an unknown encoding, one that does not fit the space, or a space that is not trained on.
        """
        name = "auto" if encoding == "auto" else _known(encoding)
        if not isinstance(space, spaces.Discrete):
            raise ValueError(_refusal(space, name))
        if name == "auto":
            name = next(iter(SPECS))
        if name not in SPECS:
            raise ValueError(f"action_space={name} does not fit {space}; encodings that fit: auto, {', '.join(SPECS)}")
        return cls(SPECS[name](int(space.n)), int(space.start))

    @property
    def num_actions(self) -> int:
        """A: how many actions there are."""
        return self.spec.num_actions

    def encode(self, action: Tensor) -> Tensor:
        """The index ``[*B]``, int64, of an action in the spec's layout."""
        return encode_action(self.spec.action_space, action)

    def decode(self, index: Tensor) -> Tensor:
        """The action in the spec's layout of an index ``[*B]``."""
        return to_one_hot(index, self.num_actions) if self.spec.action_space == "one-hot" else index

    def to_env(self, index: Tensor | int) -> NDArray[np.int64] | int:
        """What ``env.step`` takes: an int for one index, an int64 array ``[E]`` for E of them."""
        action = np.asarray(index.cpu() if isinstance(index, Tensor) else index, dtype=np.int64) + self.start
        return int(action) if action.ndim == 0 else action

    def from_env(self, action: NDArray[Any] | int) -> Tensor:
        """The index, int64, of an environment's own action or actions.

        Raises:
            ValueError: an action that the space does not have.
        """
        index = torch.as_tensor(np.asarray(action, dtype=np.int64) - self.start)
        if not bool(((index >= 0) & (index < self.num_actions)).all()):
            last = self.start + self.num_actions - 1
            raise ValueError(f"expected actions from {self.start} to {last}, got {np.asarray(action).tolist()}")
        return index


def make_action_space(space: Space[Any], *, encoding: str) -> ActionSpace:
    """``ActionSpace.from_space`` as a function, which a config can name."""
    return ActionSpace.from_space(space, encoding)


def encode_action(action_space: str, action: Tensor) -> Tensor:
    """The index ``[*B]`` of an action written as ``action_space`` says; a one-hot vector is read by its first maximum.

    Raises:
        ValueError: an action space that has no single index.

    >>> encode_action("one-hot", torch.tensor([[0, 1], [1, 0]]))
    tensor([1, 0])
    """
    return encoder(action_space)(action)


def encoder(action_space: str) -> Callable[[Tensor], Tensor]:
    """The function that turns actions written as ``action_space`` says into indices ``[*B]``.

    Raises:
        ValueError: an action space that has no single index.
    """
    name = canonical_name(action_space)
    if name not in _ENCODERS:
        raise ValueError(f"expected an action space with one index per action ({', '.join(_ENCODERS)}), got {name}")
    return _ENCODERS[name]


def _index(action: Tensor) -> Tensor:
    return action.long()


def _index_of_one(action: Tensor) -> Tensor:
    return action.to(torch.int8).argmax(-1)


_ENCODERS: dict[str, Callable[[Tensor], Tensor]] = {"categorical": _index, "one-hot": _index_of_one}


def _known(encoding: str) -> str:
    try:
        return canonical_name(encoding)
    except ValueError:
        near = get_close_matches(str(encoding).lower().replace("_", "-"), ("auto", *ACTION_SPACES), n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        names = ", ".join(("auto", *ACTION_SPACES))
        raise ValueError(f"expected action_space to be one of {names}, got {encoding!r}{hint}") from None


def _refusal(space: Space[Any], name: str) -> str:
    kind = type(space).__name__
    reason = next((REFUSED[cls.__name__] for cls in type(space).__mro__ if cls.__name__ in REFUSED), None)
    asked = f"action_space={name} does not fit" if name != "auto" else "cannot train on"
    fits = f"no encoding fits a {kind} space, {' and '.join(SPECS)} fit a Discrete one"
    return f"{asked} the action space {space}: {fits}" + (f" ({reason})" if reason else "")
