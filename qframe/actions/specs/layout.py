"""Names of action spaces, and what a string, a spec and ``var_nums`` together say about the layout of actions."""

from collections.abc import Sequence
from typing import NamedTuple

from qframe.actions.specs.base import DiscreteSpec, TensorSpec, positive_size
from qframe.actions.specs.composite import Composite
from qframe.actions.specs.joint import component_sizes
from qframe.keys import ACTION, NestedKey

ACTION_SPACES = ("categorical", "one-hot", "mult-one-hot", "multi-categorical", "binary")
JOINT_SPACES = ("mult-one-hot", "multi-categorical")
SYNONYMS = {"multi-one-hot": "mult-one-hot", "multi-discrete": "multi-categorical"}

VarNums = int | Sequence[int]


class ActionLayout(NamedTuple):
    """How actions are written: the canonical name of the space and the sizes of a joint action's components."""

    name: str
    var_nums: int | tuple[int, ...] | None = None

    def sizes(self, width: int) -> tuple[int, ...]:
        """The sizes of the components of values whose last dimension is ``width``.

        Raises:
            ValueError: they do not add up to ``width``.

        >>> ActionLayout("mult-one-hot", 2).sizes(6)
        (2, 2, 2)
        """
        if self.var_nums is None:
            return (width,)
        sizes = (self.var_nums,) * (width // self.var_nums) if isinstance(self.var_nums, int) else self.var_nums
        if sum(sizes) != width:
            raise ValueError(
                f"expected var_nums = {self.var_nums} to add up to the last dimension of the values, got {width}; "
                "every component needs all of its values"
            )
        return sizes


def canonical_name(name: str) -> str:
    """The one name of an action space; dashes and underscores are alike.

    Raises:
        ValueError: the name is unknown.

    >>> canonical_name("one_hot"), canonical_name("multi-discrete")
    ('one-hot', 'multi-categorical')
    """
    dashed = name.strip().lower().replace("_", "-")
    dashed = SYNONYMS.get(dashed, dashed)
    if dashed not in ACTION_SPACES:
        raise ValueError(f"expected action_space to be one of {', '.join(ACTION_SPACES)}, got {name!r}")
    return dashed


def leaf_spec(spec: TensorSpec, action_key: NestedKey = ACTION) -> TensorSpec:
    """The spec of the action itself, taken from under ``action_key`` where ``spec`` is a group.

    Raises:
        ValueError: the group has no spec under that key.
    """
    if not isinstance(spec, Composite):
        return spec
    leaf = spec.get(action_key)
    if leaf is None or isinstance(leaf, Composite):
        raise ValueError(f"expected a Composite with the action's spec under {action_key!r}, got {spec}")
    return leaf


def num_actions(action_space: str | TensorSpec | None, action_key: NestedKey = ACTION) -> int | None:
    """How many action values a spec says there are; None for a name, which does not say.

    >>> from qframe.actions import OneHot
    >>> num_actions(OneHot(3)), num_actions("one-hot")
    (3, None)
    """
    spec = leaf_spec(action_space, action_key) if isinstance(action_space, TensorSpec) else None
    return spec.num_actions if isinstance(spec, DiscreteSpec) else None


def find_action_space(
    action_space: str | TensorSpec | None = None,
    spec: TensorSpec | None = None,
    var_nums: VarNums | None = None,
    action_key: NestedKey = ACTION,
) -> ActionLayout:
    """The layout that a name or a spec, a further spec and ``var_nums`` agree on.

    Args:
        action_space: a name, or a spec in place of one.
        spec: the spec of the action, or a ``Composite`` that holds it under ``action_key``; it fixes ``var_nums``.
        var_nums: sizes of a joint action's components, or one int which is the size of each.
        action_key: where a ``Composite`` holds the action's spec.

    Raises:
        ValueError: nothing is given, a name is unknown, two of them disagree, or a joint action lacks its sizes.

    >>> from qframe.actions import MultiOneHot
    >>> find_action_space("multi_one_hot", MultiOneHot([2, 3]))
    ActionLayout(name='mult-one-hot', var_nums=(2, 3))
    """
    specs = [leaf_spec(given, action_key) for given in (action_space, spec) if isinstance(given, TensorSpec)]
    if len(specs) == 2 and specs[0] != specs[1]:
        raise ValueError(f"expected action_space and spec to agree, got {specs[0]} and {specs[1]}; give one of them")
    name = canonical_name(action_space) if isinstance(action_space, str) else None
    if not specs and name is None:
        raise ValueError(f"expected action_space (one of {', '.join(ACTION_SPACES)}) or a spec, got {action_space!r}")
    sizes = _checked(var_nums)
    if specs:
        name, sizes = _of_spec(specs[0], name, sizes)
    if name not in JOINT_SPACES:
        if sizes is not None:
            raise ValueError(f"var_nums is for {' and '.join(JOINT_SPACES)}, got {sizes} with {name}; leave it out")
    elif sizes is None:
        raise ValueError(f"expected var_nums, the sizes of the components of {name}, got None; give it or a spec")
    return ActionLayout(str(name), sizes)


def _of_spec(
    spec: TensorSpec, name: str | None, sizes: int | tuple[int, ...] | None
) -> tuple[str, int | tuple[int, ...] | None]:
    if not isinstance(spec, DiscreteSpec):
        raise ValueError(f"expected the spec of a discrete action, got {spec}; valid are {', '.join(ACTION_SPACES)}")
    if name is not None and name != spec.action_space:
        raise ValueError(
            f"expected action_space and spec to agree, got {name!r} and {spec}, which is {spec.action_space!r}; "
            "give one of them"
        )
    given = (sizes,) * len(spec.var_nums or ()) if isinstance(sizes, int) else sizes
    if given is not None and given != (spec.var_nums or ()):
        raise ValueError(f"expected var_nums and spec to agree, got {sizes} and {spec}; leave var_nums out")
    return spec.action_space, spec.var_nums


def _checked(var_nums: VarNums | None) -> int | tuple[int, ...] | None:
    if var_nums is None:
        return None
    if isinstance(var_nums, int):
        return positive_size(var_nums, "var_nums")
    return component_sizes(var_nums, "var_nums")
