"""Keys of tensordict entries: their type, and the names used where a caller gives none."""

from typing import TypeAlias

from tensordict import TensorDictBase
from torch import Tensor

NestedKey: TypeAlias = str | tuple[str, ...]

OBSERVATION = "observation"
ACTION = "action"
ACTION_VALUE = "action_value"
CHOSEN_ACTION_VALUE = "chosen_action_value"
ACTION_MASK = "action_mask"
PREDICTION = "prediction"
STATE_VALUE = "state_value"
STATE_ACTION_VALUE = "state_action_value"
SAMPLE_LOG_PROB = "sample_log_prob"


def as_path(key: NestedKey) -> tuple[str, ...]:
    """The key as a tuple of names.

    >>> as_path("action"), as_path(("agent", "action"))
    (('action',), ('agent', 'action'))
    """
    return (key,) if isinstance(key, str) else tuple(key)


def required(tensordict: TensorDictBase, key: NestedKey, what: str) -> Tensor:
    """The entry under a key.

    Raises:
        KeyError: there is none.
    """
    entry = tensordict.get(key, None)
    if entry is None:
        raise KeyError(f"cannot find {what} under {key!r}; the keys are {list(tensordict.keys(True, True))}")
    return entry
