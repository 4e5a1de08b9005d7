"""From a Gymnasium action space to the ``ActionSpace`` that is trained on, or to the reason why there is none."""

import math
from collections.abc import Callable
from difflib import get_close_matches
from typing import Any, Literal

import numpy as np
from gymnasium import Space, spaces

from qframe.actions.action_space import ActionSpace, EnumeratedActionSpace, JointActionSpace
from qframe.actions.specs.base import DiscreteSpec
from qframe.actions.specs.discrete import Categorical, OneHot
from qframe.actions.specs.joint import MultiCategorical, MultiOneHot
from qframe.actions.specs.layout import ACTION_SPACES, canonical_name

ENUMERATED = "enumerated"
_JOINT: dict[str, type[DiscreteSpec]] = {"multi-categorical": MultiCategorical, "mult-one-hot": MultiOneHot}
SPECS: dict[str, dict[str, type[DiscreteSpec]]] = {
    "Discrete": {"categorical": Categorical, "one-hot": OneHot},
    "MultiDiscrete": _JOINT,
    "MultiBinary": _JOINT,
}
"""The encodings that fit each space; the first is what ``auto`` picks."""

REFUSED: dict[str, str] = {
    "Box": "continuous actions have no finite set of action values; map a few chosen actions to a Discrete space",
    "Dict": "a group of actions has no single greedy choice; flatten it to a MultiDiscrete space",
    "Tuple": "a group of actions has no single greedy choice; flatten it to a MultiDiscrete space",
    "Text": "there is no action value per text; map chosen texts to a Discrete space",
    "Sequence": "actions of varying length have no fixed set of action values",
    "Graph": "graphs have no fixed set of action values",
    "OneOf": "a choice among spaces has no fixed set of action values; map chosen actions to a Discrete space",
}
"""Gymnasium action spaces that are not trained on, and why."""


def make_action_space(
    space: Space[Any], *, encoding: str, joint: Literal["branching", "sum"] = "branching", max_enumerated: int = 1024
) -> ActionSpace:
    """The action space of a Gymnasium environment in an encoding.

    Args:
        space: the environment's action space (its single one, not the vectorised one).
        encoding: ``auto``, ``enumerated``, or a name of the table in ``qframe.actions.action_space``.
        joint: how a joint action is trained: ``branching``, the mean over its branches (Tavakoli et al., 2018), or
            ``sum``, their sum.
        max_enumerated: the most joint actions that are enumerated.

    Raises:
        ValueError: an unknown encoding, one that does not fit the space, too many actions to enumerate, the sum of a
            single choice, or a space that is not trained on.
    """
    if joint not in ("branching", "sum"):
        raise ValueError(f"expected joint to be branching or sum, got {joint!r}")
    kind = next((cls.__name__ for cls in type(space).__mro__ if cls.__name__ in SPECS), None)
    name = encoding if encoding in ("auto", ENUMERATED) else _known(encoding)
    if kind is None:
        raise ValueError(_refusal(space, name))
    if isinstance(space, spaces.Discrete):
        fitting = _fitting(SPECS[kind], name, space, ("auto", *SPECS[kind]))
        if joint != "branching":
            raise ValueError(f"expected joint=branching for {space}, got {joint}: a single choice has nothing to join")
        return ActionSpace(fitting(int(space.n)), int(space.start))
    env = _branches_of(space)
    if name == ENUMERATED:
        return EnumeratedActionSpace(Categorical(_counted(env["sizes"], max_enumerated)), **env)
    fitting = _fitting(SPECS[kind], name, space, ("auto", *SPECS[kind], ENUMERATED))
    return JointActionSpace(fitting(env["sizes"]), joint=joint, **env)


def _branches_of(space: Space[Any]) -> dict[str, Any]:
    """The branches of a joint space, in C order where the space has several dimensions."""
    if isinstance(space, spaces.MultiDiscrete):
        sizes, starts = space.nvec.ravel(), space.start.ravel().astype(np.int64)
    else:
        sizes, starts = np.full(math.prod(space.shape or ()), 2), 0
    return {"sizes": tuple(sizes.tolist()), "starts": starts, "shape": space.shape, "dtype": space.dtype}


def _fitting(
    encodings: dict[str, type[DiscreteSpec]], name: str, space: Space[Any], fitting: tuple[str, ...]
) -> Callable[..., DiscreteSpec]:
    if name == "auto":
        return next(iter(encodings.values()))
    if name not in encodings:
        words = ", ".join(map(_word, fitting))
        raise ValueError(f"action_space={_word(name)} does not fit {space}; encodings that fit: {words}")
    return encodings[name]


def _word(name: str) -> str:
    """As it is chosen on the command line; dashes and underscores are alike to the library."""
    return name.replace("mult-one", "multi-one").replace("-", "_")


def _counted(sizes: tuple[int, ...], most: int) -> int:
    if (count := math.prod(sizes)) > most:
        raise ValueError(
            f"expected at most {most:,} joint actions to enumerate, got {count:,} ({' · '.join(map(str, sizes))}); "
            "use action_space=auto, which has branches, or raise action_space.max_enumerated"
        )
    return count


def _known(encoding: str) -> str:
    try:
        return canonical_name(encoding)
    except ValueError:
        names = ("auto", *ACTION_SPACES, ENUMERATED)
        near = get_close_matches(str(encoding).lower().replace("_", "-"), names, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise ValueError(f"expected action_space to be one of {', '.join(names)}, got {encoding!r}{hint}") from None


def _refusal(space: Space[Any], name: str) -> str:
    kind = type(space).__name__
    reason = next((REFUSED[cls.__name__] for cls in type(space).__mro__ if cls.__name__ in REFUSED), None)
    asked = f"action_space={name} does not fit" if name != "auto" else "cannot train on"
    fits = f"no encoding fits a {kind} space, only {', '.join(SPECS)}"
    return f"{asked} the action space {space}: {fits}" + (f" ({reason})" if reason else "")
