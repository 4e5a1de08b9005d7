"""The ``ActionSpace`` of a Gymnasium action space, or the reason why it cannot be trained on."""

import math
from collections.abc import Iterable, Iterator
from difflib import get_close_matches
from typing import Any, Literal

import numpy as np
from gymnasium import Space, spaces

from qframe.actions.action_space import ENCODINGS, ActionSpace, canonical_name

ENUMERATED = "enumerated"
MOST, MOST_BY_ITSELF = 1024, 64
"""The most joint actions that are enumerated, if asked to or by ``auto``."""
JOINT = ("branching", "sum", "mean")
"""The ways to train a joint action."""
_JOINT = ("multi-categorical", "mult-one-hot")
FITTING = {"Discrete": ("categorical", "one-hot"), "MultiDiscrete": _JOINT, "MultiBinary": _JOINT}
"""The encodings that fit each space; ``auto`` picks the first, unless a joint space is small."""

REFUSED: dict[str, str] = {
    "Box": "continuous actions; set action_space=discretized, which divides every dimension into bins",
    "Dict": "only groups of Discrete, MultiDiscrete and MultiBinary actions can be; map the others in a wrapper",
    "Tuple": "only groups of Discrete, MultiDiscrete and MultiBinary actions can be; map the others in a wrapper",
    "Text": "there is no action value per text; map chosen texts to a Discrete space",
    "Sequence": "actions of varying length have no fixed set of action values",
    "Graph": "graphs have no fixed set of action values",
    "OneOf": "a choice among spaces has no fixed set of action values; map chosen actions to a Discrete space",
}
"""Gymnasium action spaces that cannot be trained on, and why."""


def make_action_space(
    space: Space[Any],
    *,
    encoding: str,
    joint: Literal["branching", "sum", "mean"] = "branching",
    max_enumerated: int | None = None,
) -> ActionSpace:
    """The action space of a Gymnasium environment in the given encoding.

    Args:
        space: the environment's action space (its single one, not the vectorised one).
        encoding: ``auto`` (a joint space of few actions is enumerated, as branches cannot represent a payoff that
            depends on several of them), ``enumerated``, or an encoding of the table in
            ``qframe.actions.action_space``.
        joint: how a joint action is trained: ``branching``, where every branch values the whole action (Tavakoli et
            al., 2018), or the ``sum`` or the ``mean`` over branches.
        max_enumerated: the largest number of joint actions to enumerate; None is 64 for ``auto``, else 1024.

    Raises:
        ValueError: an unknown encoding, one that does not fit the space, too many actions to enumerate, the sum of a
            single choice, or a space that cannot be trained on.
    """
    if joint not in JOINT:
        raise ValueError(f"expected joint to be one of {', '.join(JOINT)}, got {joint!r}")
    kind = next((cls.__name__ for cls in type(space).__mro__ if cls.__name__ in FITTING), None)
    name = encoding if encoding in ("auto", ENUMERATED) else _known(encoding)
    if kind is None:
        raise ValueError(_refusal(space, name))
    if isinstance(space, spaces.Discrete):
        if joint != "branching":
            raise ValueError(f"joint={joint} does not apply to {space}, a single choice; use joint=branching")
        fitting = _fitting(FITTING[kind], name, space, ("auto", *FITTING[kind]))
        return ActionSpace(fitting, int(space.n), starts=(int(space.start),))
    sizes, starts = choices(space)
    env: dict[str, Any] = {"starts": starts, "shape": space.shape, "dtype": space.dtype}
    most = (MOST_BY_ITSELF if name == "auto" else MOST) if max_enumerated is None else max_enumerated
    is_small = name == "auto" and joint == "branching" and math.prod(sizes) <= most
    if name == ENUMERATED or is_small:
        return ActionSpace("categorical", _counted(sizes, most), factors=sizes, **env)
    fitting = _fitting(FITTING[kind], name, space, ("auto", *FITTING[kind], ENUMERATED))
    return ActionSpace(fitting, sizes, joint=joint, **env)


def choices(space: Space[Any]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The sizes and the first values of a space's single choices, in order; none if a part of it is no choice.

    >>> choices(spaces.MultiDiscrete([[2, 3], [4, 1]], start=[[0, 0], [1, 0]]))
    ((2, 3, 4, 1), (0, 0, 1, 0))
    >>> choices(spaces.Dict({"gear": spaces.Discrete(3, start=-1), "lamps": spaces.MultiBinary(2)}))
    ((3, 2, 2), (-1, 0, 0))
    """
    if isinstance(space, spaces.Discrete):
        return (int(space.n),), (int(space.start),)
    if isinstance(space, spaces.MultiDiscrete):
        return tuple(space.nvec.ravel().tolist()), tuple(space.start.ravel().tolist())
    if isinstance(space, spaces.MultiBinary):
        count = math.prod(space.shape)
        return (2,) * count, (0,) * count
    if not isinstance(space, spaces.Tuple | spaces.Dict):
        return (), ()
    parts = list(map(choices, space.values() if isinstance(space, spaces.Dict) else space))
    sizes, starts = (tuple(number for part in parts for number in part[side]) for side in (0, 1))
    return (sizes, starts) if all(part[0] for part in parts) else ((), ())


def action_of(space: Space[Any], values: Iterable[int]) -> Any:
    """The action of a space whose single choices have these values, in the form that the space samples.

    >>> action_of(spaces.Dict({"gear": spaces.Discrete(3, start=-1), "lamps": spaces.MultiBinary(2)}), [-1, 0, 1])
    {'gear': np.int64(-1), 'lamps': array([0, 1], dtype=int8)}
    """
    rest: Iterator[int] = iter(values)
    if isinstance(space, spaces.Dict):
        return {key: action_of(entry, rest) for key, entry in space.items()}
    if isinstance(space, spaces.Tuple):
        return tuple(action_of(entry, rest) for entry in space)
    shape: Any = space.shape
    return np.array([next(rest) for _ in range(math.prod(shape))], space.dtype).reshape(shape)[()]


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
            "use action_space=multi_categorical, which has branches, or raise action_space.max_enumerated"
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
