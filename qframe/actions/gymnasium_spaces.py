"""The ``ActionSpace`` of a Gymnasium action space, or the reason why it cannot be trained on."""

import math
from difflib import get_close_matches
from typing import Any, Literal

from gymnasium import Space, spaces

from qframe.actions.action_space import ENCODINGS, ActionSpace, canonical_name

ENUMERATED = "enumerated"
_JOINT = ("multi-categorical", "mult-one-hot")
FITTING = {"Discrete": ("categorical", "one-hot"), "MultiDiscrete": _JOINT, "MultiBinary": _JOINT}
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
"""Gymnasium action spaces that cannot be trained on, and why."""


def make_action_space(
    space: Space[Any], *, encoding: str, joint: Literal["branching", "sum"] = "branching", max_enumerated: int = 1024
) -> ActionSpace:
    """The action space of a Gymnasium environment in the given encoding.

    Args:
        space: the environment's action space (its single one, not the vectorised one).
        encoding: ``auto``, ``enumerated``, or an encoding from the table in ``qframe.actions.action_space``.
        joint: how a joint action is trained: ``branching``, the mean over its branches (Tavakoli et al., 2018), or
            ``sum``, their sum.
        max_enumerated: the largest number of joint actions to enumerate.

    Raises:
        ValueError: an unknown encoding, one that does not fit the space, too many actions to enumerate, the sum of a
            single choice, or a space that cannot be trained on.
    """
    if joint not in ("branching", "sum"):
        raise ValueError(f"expected joint to be branching or sum, got {joint!r}")
    kind = next((cls.__name__ for cls in type(space).__mro__ if cls.__name__ in FITTING), None)
    name = encoding if encoding in ("auto", ENUMERATED) else _known(encoding)
    if kind is None:
        raise ValueError(_refusal(space, name))
    if isinstance(space, spaces.Discrete):
        if joint != "branching":
            raise ValueError(f"joint={joint} does not apply to {space}, a single choice; use joint=branching")
        fitting = _fitting(FITTING[kind], name, space, ("auto", *FITTING[kind]))
        return ActionSpace(fitting, int(space.n), starts=(int(space.start),))
    sizes, starts = _choices(space)
    env: dict[str, Any] = {"starts": starts, "shape": space.shape, "dtype": space.dtype}
    if name == ENUMERATED:
        return ActionSpace("categorical", _counted(sizes, max_enumerated), factors=sizes, **env)
    fitting = _fitting(FITTING[kind], name, space, ("auto", *FITTING[kind], ENUMERATED))
    return ActionSpace(fitting, sizes, joint=joint, **env)


def _choices(space: Space[Any]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The sizes and the starts of a joint space's choices, in C order if it has several dimensions."""
    if isinstance(space, spaces.MultiDiscrete):
        return tuple(space.nvec.ravel().tolist()), tuple(space.start.ravel().tolist())
    return (2,) * math.prod(space.shape or ()), ()


def _fitting(encodings: tuple[str, ...], name: str, space: Space[Any], options: tuple[str, ...]) -> str:
    if name == "auto":
        return encodings[0]
    if name not in encodings:
        words = ", ".join(map(_word, options))
        raise ValueError(f"action_space={_word(name)} does not fit {space}; encodings that fit: {words}")
    return name


def _word(name: str) -> str:
    """The name of its file in ``conf/action_space``, for the command line."""
    return name.replace("mult-one", "multi-one").replace("-", "_")


def _counted(sizes: tuple[int, ...], most: int) -> int:
    if (count := math.prod(sizes)) > most:
        raise ValueError(
            f"cannot enumerate {count:,} joint actions ({' · '.join(map(str, sizes))}), more than {most:,}; "
            "use action_space=auto, which has branches, or raise action_space.max_enumerated"
        )
    return count


def _known(encoding: str) -> str:
    try:
        return canonical_name(encoding)
    except ValueError:
        names = ("auto", *ENCODINGS, ENUMERATED)
        near = get_close_matches(str(encoding).lower().replace("_", "-"), names, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise ValueError(f"expected action_space to be one of {', '.join(names)}, got {encoding!r}{hint}") from None


def _refusal(space: Space[Any], name: str) -> str:
    kind = type(space).__name__
    reason = next((REFUSED[cls.__name__] for cls in type(space).__mro__ if cls.__name__ in REFUSED), None)
    asked = f"action_space={name} does not fit" if name != "auto" else "cannot train on"
    fits = f"no encoding fits a {kind} space, only {', '.join(FITTING)}"
    return f"{asked} the action space {space}: {fits}" + (f" ({reason})" if reason else "")
