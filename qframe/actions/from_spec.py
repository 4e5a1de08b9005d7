"""The ``ActionSpace`` that a name, a spec and ``var_nums`` describe, the arguments that TorchRL's classes take."""

from collections.abc import Sequence

from qframe.actions.action_space import ENCODINGS, JOINT_ENCODINGS, ActionSpace, branch_sizes, canonical_name
from qframe.actions.specs.base import DiscreteSpec, TensorSpec
from qframe.actions.specs.composite import Composite
from qframe.keys import ACTION, NestedKey

VarNums = int | Sequence[int]
AnyActionSpace = ActionSpace | TensorSpec
"""The argument of parts that need the number of actions: an ``ActionSpace``, or the spec of an action."""


def as_action_space(given: AnyActionSpace, action_key: NestedKey = ACTION) -> ActionSpace:
    """The action space that an argument describes, with known sizes.

    Args:
        given: the action space itself, or the action's spec, which a ``Composite`` holds under ``action_key``.
        action_key: the action's key.

    Raises:
        ValueError: a spec that is not a discrete action's, or an action space of unknown sizes.

    >>> from qframe.actions import OneHot
    >>> print(as_action_space(OneHot(3)))
    one-hot(3)
    """
    space = given if isinstance(given, ActionSpace) else find_action_space(given, action_key=action_key)
    _ = space.known_sizes
    return space


def leaf_spec(spec: TensorSpec, action_key: NestedKey = ACTION) -> TensorSpec:
    """The spec of the action itself: of a ``Composite``, the one under ``action_key``.

    Raises:
        ValueError: the ``Composite`` has no spec under that key.
    """
    if not isinstance(spec, Composite):
        return spec
    leaf = spec.get(action_key)
    if leaf is None or isinstance(leaf, Composite):
        raise ValueError(f"expected a Composite with the action's spec under {action_key!r}, got {spec}")
    return leaf


def find_action_space(
    action_space: str | AnyActionSpace | None = None,
    spec: TensorSpec | None = None,
    var_nums: VarNums | None = None,
    action_key: NestedKey = ACTION,
) -> ActionSpace:
    """The action space that a name or a spec, a further spec and ``var_nums`` agree on.

    Args:
        action_space: a name, a spec, or an ``ActionSpace``, which is returned as it is.
        spec: the spec of the action, or a ``Composite`` that holds it under ``action_key``; it fixes ``var_nums``.
        var_nums: sizes of a joint action's components, or one int, the size of each.
        action_key: where a ``Composite`` holds the action's spec.

    Raises:
        ValueError: nothing is given, a name is unknown, two of them disagree, or a joint action lacks its sizes.

    >>> from qframe.actions import MultiOneHot
    >>> print(find_action_space("multi_one_hot", MultiOneHot([2, 3])))
    mult-one-hot(2, 3)
    """
    if isinstance(action_space, ActionSpace):
        return action_space
    specs = [leaf_spec(given, action_key) for given in (action_space, spec) if isinstance(given, TensorSpec)]
    if len(specs) == 2 and specs[0] != specs[1]:
        raise ValueError(f"action_space and spec disagree: {specs[0]} and {specs[1]}; give only one of them")
    name = canonical_name(action_space) if isinstance(action_space, str) else None
    if not specs and name is None:
        raise ValueError(f"expected action_space (one of {', '.join(ENCODINGS)}) or a spec, got {action_space!r}")
    sizes = var_nums if var_nums is None or isinstance(var_nums, int) else branch_sizes(var_nums, "var_nums")
    space = _of_spec(specs[0], name, sizes) if specs else None
    encoding = name if space is None else space.encoding
    if sizes is not None and encoding not in JOINT_ENCODINGS:
        names = " and ".join(JOINT_ENCODINGS)
        raise ValueError(f"var_nums is only for {names}, got {sizes} with {encoding}; leave it out")
    return ActionSpace(str(name), sizes) if space is None else space


def _of_spec(spec: TensorSpec, name: str | None, sizes: int | tuple[int, ...] | None) -> ActionSpace:
    if not isinstance(spec, DiscreteSpec):
        raise ValueError(f"expected the spec of a discrete action, got {spec}; valid are {', '.join(ENCODINGS)}")
    if name is not None and name != spec.encoding:
        raise ValueError(
            f"action_space and spec disagree: {name!r} and {spec}, which is {spec.encoding!r}; give only one of them"
        )
    given = (sizes,) * len(spec.var_nums or ()) if isinstance(sizes, int) else sizes
    if given is not None and spec.var_nums is not None and given != spec.var_nums:
        raise ValueError(f"var_nums and spec disagree: {sizes} and {spec}; leave var_nums out")
    return spec.action_space
