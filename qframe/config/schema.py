"""The top level of a config: the keys a user meets first, and the groups, each of which is one choice."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Annotated, Any, Literal, get_args, get_origin

from qframe.errors import hint
from qframe.machine.native_code import missing_compiler

Rule = Callable[[Any], str | None]  # the fault of a value, or None


def at_least(lowest: int) -> Rule:
    """An integer not below ``lowest``."""
    return lambda value: None if value >= lowest else f"expected an integer ≥ {lowest}, got {value}"


def fraction(value: float) -> str | None:
    """A number in [0, 1].

    >>> fraction(1.5)
    'expected a number from 0 to 1, got 1.5'
    """
    return None if 0.0 <= value <= 1.0 else f"expected a number from 0 to 1, got {value}"


def file_name(value: str) -> str | None:
    """A name that can be part of a folder's name on any system."""
    allowed = "letters, digits and any of . _ - = , +"
    return None if re.fullmatch(r"\w[\w.=,+-]*", value) else f"expected a name of {allowed}, got '{value}'"


def available_device(value: str) -> str | None:
    """``auto``, ``cpu``, ``cuda`` or ``cuda:N``, and one that this machine has."""
    if value in ("auto", "cpu"):
        return None
    if not re.fullmatch(r"cuda(:\d+)?", value):
        return f"expected auto, cpu, cuda or cuda:N, got '{value}'"
    import torch  # not at the top: it takes seconds, and other values are judged without it

    there = ["cpu", *(f"cuda:{index}" for index in range(torch.cuda.device_count()))]
    if value in there or (value == "cuda" and len(there) > 1):
        return None
    return f"there is no device '{value}'; this machine has: {', '.join(there)}"


def compilable(value: bool | str) -> str | None:
    """True, false, ``auto`` or ``cuda_graph``; true only with a C++ compiler."""
    if value is True and (missing := missing_compiler()) is not None:
        return missing
    return None


ADDITIONS = {"make_memory": ("memory", "memory=none"), "num_returns": ("reward.bonus.head", "reward.bonus.head=shared")}
"""Arguments of a network that not every class takes: the keys that ask for them, and how to do without."""
NO_MEMORY: Mapping[str, Any] = {"_target_": "qframe.networks.no_memory"}
"""The group ``memory`` of a network without one."""
NO_INIT: Mapping[str, Any] = {"from": None, "part": "all", "network": "best"}
"""The setting ``init`` of a run with new weights."""


ONE_LEARNER: Mapping[str, Any] = {"_target_": "qframe.training.Learner"}
"""The group ``learner`` of a run that learns in one process."""
EARLIER: Mapping[str, Any] = {"init": NO_INIT, "memory": NO_MEMORY, "learner": ONE_LEARNER}
"""What the configs of runs of earlier versions lack, and mean."""


def weights_source(value: Mapping[str, Any]) -> str | None:
    """The keys of ``NO_INIT``, with the folder of a run and a choice each.

    >>> weights_source({"from": None, "part": "head", "network": "best"})
    "expected part to be one of all, trunk, got 'head'"
    """
    if odd := [str(key) for key in value if key not in NO_INIT]:
        return f"unknown key '{odd[0]}'; {hint(odd[0], NO_INIT, 'init.')}"
    if missing := [key for key in NO_INIT if key not in value]:
        return f"missing: set init.{missing[0]}"
    if not (value["from"] is None or isinstance(value["from"], str)):
        return f"expected from to be the folder of a run, or null, got {value['from']!r}"
    for key, choices in (("part", ("all", "trunk")), ("network", ("best", "last"))):
        if value[key] not in choices:
            return f"expected {key} to be one of {', '.join(choices)}, got {value[key]!r}"
    if value["from"] is None and value != NO_INIT:
        return "part and network have no effect without a run; set init.from"
    return None


def _is_ruled(annotation: Any) -> bool:
    return get_origin(annotation) is Annotated


@dataclass(frozen=True)
class Schema:
    """A whole config: settings with the rule each obeys, and groups, each a mapping with ``_target_``."""

    name: Annotated[str, file_name]
    seed: Annotated[int, at_least(0)]
    device: Annotated[str, available_device]
    gamma: Annotated[float, fraction]
    total_frames: Annotated[int, at_least(1)]
    compile: Annotated[bool | Literal["auto", "cuda_graph"], compilable]
    init: Annotated[Mapping[str, Any], weights_source]
    autocast: Annotated[bool, lambda value: None]
    deterministic: Annotated[bool, lambda value: None]
    profile: Annotated[bool, lambda value: None]
    env: Mapping[str, Any]
    action_space: Mapping[str, Any]
    network: Mapping[str, Any]
    trunk: Mapping[str, Any]
    memory: Mapping[str, Any]
    head: Mapping[str, Any]
    estimator: Mapping[str, Any]
    loss: Mapping[str, Any]
    target: Mapping[str, Any]
    replay: Mapping[str, Any]
    priorities: Mapping[str, Any]
    exploration: Mapping[str, Any]
    reward: Mapping[str, Any]
    collector: Mapping[str, Any]
    learner: Mapping[str, Any]
    optimizer: Mapping[str, Any]
    runner: Mapping[str, Any]
    evaluation: Mapping[str, Any]
    checkpoint: Mapping[str, Any]
    logger: Mapping[str, Any]


SETTINGS: dict[str, tuple[Any, Rule]] = {f.name: get_args(f.type) for f in fields(Schema) if _is_ruled(f.type)}
GROUPS: tuple[str, ...] = tuple(f.name for f in fields(Schema) if not _is_ruled(f.type))
AUTO_NUMBERS = ("runner.threads", "env.num_envs", "runner.every", "runner.updates")
"""Numbers that may be ``auto``."""
AUTO_COLLECTOR = {"_target_": "auto"}
"""The node of ``collector=auto``."""
PROVIDED: dict[str, frozenset[str]] = {
    "action_space": frozenset({"space"}),
    "network": frozenset({"trunk", "make_head", "make_memory", "num_returns", "action_space"}),
    "trunk": frozenset({"observation_shape", "byte_divisor"}),
    "memory": frozenset({"num_features", "num_actions"}),
    "head": frozenset({"features", "num_actions"}),
    "loss": frozenset({"value_network", "action_space", "joint", "burn_in", "gamma", "seed"}),
    "target": frozenset({"loss"}),
    "replay": frozenset({"gamma", "num_envs", "priorities", "seed"}),
    "exploration": frozenset({"spec", "action_space", "num_envs", "num_members", "seed"}),
    "reward": frozenset({"gamma", "num_envs"}),
    "reward.bonus": frozenset({"observation_space", "gamma", "num_envs", "seed"}),
    "collector": frozenset(
        {
            "envs", "network", "exploration", "action_space", "reward", "make_reward", "device", "seed",
            "stores_probability", "stores_state", "stores_value",
        }
    ),
    "learner": frozenset(
        {
            "loss", "replay", "optimizer", "target_update", "action_space", "device", "compiled", "may_fall_back",
            "autocast", "updates", "ranks",
        }
    ),
    "optimizer": frozenset({"parameters"}),
    "optimizer.algorithm": frozenset({"params", "lr"}),
    "runner": frozenset(
        {
            "collector", "learner", "replay", "evaluation", "checkpoints", "logger", "folder", "total_frames", "seed",
            "report", "ranks", "started",
        }
    ),
    "evaluation": frozenset({"envs", "action_space", "seed"}),
}
"""Constructor parameters that the builder fills in, by place; a config must not set them."""
