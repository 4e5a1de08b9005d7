"""The table in ``docs/refusals.md``: configs that are refused, each with the message that the code gives.

``python scripts/refusals.py`` writes it.
"""

import re
import shlex
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from gymnasium import spaces
from torch import nn

from qframe.actions import MultiCategorical, make_action_space
from qframe.actions.gymnasium_spaces import REFUSED
from qframe.config import build
from qframe.config.combinations import REFUSALS
from qframe.config.compose import compose
from qframe.errors import ConfigError
from qframe.heads import CategoricalHead, QuantileHead, ScalarHead
from qframe.modules import DistributionalQValueActor
from qframe.networks import MLP, EnsembleQNet, MLPTrunk, QNet
from qframe.networks.encoders import REFUSED_OBSERVATIONS
from qframe.networks.q_net import MakeHead
from qframe.objectives import DQNLoss

PAGE = Path(__file__).parents[1] / "docs" / "refusals.md"
START, END = "<!-- by scripts/refusals.py -->\n", "<!-- end of refusals -->\n"

BY_PARTS = (
    "env=gymnasium env.id=MountainCarContinuous-v0",
    "env=gymnasium env.id=some_module:Env-v0",
    "env.mask_key=mask",
    "env=gymnasium env.id=FrozenLake-v1 network.normalize_observation=true",
    "action_space=multi_categorical",
    "action_space.joint=sum",
    "trunk=nature",
    "network=shared_trunk network.dueling=false",
    "head=categorical head.num_atoms=1",
    "head=categorical head.v_min=1 head.v_max=0",
    "reward.clip=[1,-1]",
    "reward.scale=0",
    "loss=double_dqn loss.delay_value=false target=none",
    "loss.delay_value=false",
    "target=none",
    "loss=dqv",
    "loss=dqv network=shared_trunk",
    "loss=dqv network=shared_trunk network.dueling=false estimator=watkins replay=slices",
    "loss=dqv network=shared_trunk network.dueling=false estimator=munchausen",
    "estimator=munchausen loss=double_dqn",
    "estimator=munchausen estimator.lambda_=0.9",
    "estimator=retrace replay=slices estimator.temperature=0.1 head=quantile",
)
"""Overrides that a single part refuses when it is built; refused combinations bring their own examples."""


def _joint_loss(joint: str, head: MakeHead = ScalarHead) -> DQNLoss:
    network = QNet(MLPTrunk((1,), num_cells=[1]), head, action_space=MultiCategorical([2, 2]))
    return DQNLoss(network, joint=joint)  # pyright: ignore[reportArgumentType]


def _uneven_support() -> DQNLoss:
    support = torch.tensor([0.0, 1.0, 3.0])
    return DQNLoss(DistributionalQValueActor(MLP(1, (3, 2)), support=support, action_space="categorical"))


BY_THE_LIBRARY: dict[str, Callable[[], object]] = {
    "`action_space=enumerated` with too many joint actions": lambda: make_action_space(
        spaces.MultiDiscrete([40, 40]), encoding="enumerated"
    ),
    "`action_space.joint=sum head=categorical`": lambda: _joint_loss("sum", CategoricalHead),
    "`action_space.joint=sum head=quantile head.transform=h`": lambda: _joint_loss(
        "sum", partial(QuantileHead, transform="h")
    ),
    "`action_space.joint=sum estimator=munchausen`": lambda: _joint_loss("sum").make_value_estimator("munchausen"),
    "`estimator=retrace estimator.temperature=0.1` on joint actions": lambda: _joint_loss(
        "branching"
    ).make_value_estimator("retrace", temperature=0.1),
    "`network=ensemble` on joint actions": lambda: EnsembleQNet(
        MLPTrunk((1,), num_cells=[1]), ScalarHead, action_space=MultiCategorical([2, 2])
    ),
    "the action space `binary` under `DQNLoss`": lambda: DQNLoss(nn.Linear(1, 4), action_space="binary"),
    "a support that is not evenly spaced": _uneven_support,
    "a value estimator that there is not": lambda: _joint_loss("sum").make_value_estimator("GAE"),
}
"""Refusals that no override on CartPole can show, each as a call that raises."""


def rows() -> dict[str, str]:
    """The refusals, each with the message of the code, in the order of the table.

    Raises:
        ValueError: overrides that are not refused, or for more than one reason.
    """
    actions = {f"a {kind} action space": reason for kind, reason in REFUSED.items()}
    observations = {
        f"a {kind} observation, alone or in a Dict or Tuple": reason for kind, reason in REFUSED_OBSERVATIONS.items()
    }
    words = [*BY_PARTS, *(refusal.example for refusal in REFUSALS)]
    by_the_library = {what: _error(call) for what, call in BY_THE_LIBRARY.items()}
    return actions | observations | by_the_library | {f"`{line}`": answer(line) for line in words}


def answer(words: str) -> str:
    """The message of ``qframe check`` for these overrides, in which it finds one fault.

    >>> answer("reward.scale=0")
    'reward: expected scale above 0, got 0.0'

    Raises:
        ValueError: there is no fault, or more than one.
    """
    try:
        faults = build.check(compose(shlex.split(words), provided=build.PROVIDED))
    except ConfigError as error:
        faults = error.faults
    if len(faults) != 1:
        raise ValueError(f"expected one fault in {words!r}, got {len(faults)}: {'; '.join(map(str, faults))}")
    (fault,) = faults
    return re.sub(r"and there are [\d.,]+ GB .*", "more than there is", f"{fault.where}: {fault.message}")


def _error(call: Callable[[], object]) -> str:
    try:
        call()
    except ValueError as error:
        return str(error)
    raise ValueError(f"expected a refusal, got none from {call}")


def table() -> str:
    """The rows as Markdown."""
    lines = [f"| {what} | {_cell(why)} |" for what, why in rows().items()]
    return "\n".join(["| refused | why, and what to do |", "|---|---|", *lines]) + "\n"


def _cell(text: str) -> str:
    return re.sub(r"\s+", " ", text).replace("|", "\\|")


def written(text: str) -> str:
    """The page with the current table between the markers."""
    before, _, rest = text.partition(START)
    return before + START + table() + END + rest.partition(END)[2]


if __name__ == "__main__":
    PAGE.write_text(written(PAGE.read_text()))
