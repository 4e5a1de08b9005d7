"""The learner's metrics between two logs."""

from types import SimpleNamespace
from typing import Any

import torch

from qframe.training.learner import Learner


def test_metrics_are_added_by_name_whichever_an_update_has():
    learner: Any = SimpleNamespace(_sums={}, _summed=0, updates=0)
    for sums in ({"loss": 1.0, "masked": 0.5}, {"loss": 2.0}, {"priority": 4.0, "loss": 3.0}):
        Learner._add(learner, {name: torch.tensor(value) for name, value in sums.items()}, 2)
    assert learner._sums == {"loss": 6.0, "masked": 0.5, "priority": 4.0}
    assert (learner._summed, learner.updates) == (6, 6)
