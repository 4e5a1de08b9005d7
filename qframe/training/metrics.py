"""What a training log says of the parts of a run, by metric."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from qframe.replay import ReplayBuffer
from qframe.training.collector import Collector
from qframe.training.learner import Learner


def of_training(
    collector: Collector, learner: Learner, replay: ReplayBuffer, returns: Sequence[float], lengths: Sequence[int]
) -> dict[str, Any]:
    """The metrics of the learner, the replay, the environments' faults, exploration, and the episodes that ended.

    Args:
        collector: acts.
        learner: learns; its means since the last log are taken.
        replay: between them.
        returns: of the episodes that ended since the last log.
        lengths: of the same, in frames.
    """
    values = {
        "time/updates": learner.updates,
        "replay/size": len(replay),
        "train/learning_rate": learner.optimizer.lr,
    } | learner.take_metrics()
    values |= {"train/skipped_updates": learner.skipped.total} if learner.skipped.total else {}
    values |= {f"env/{name}": count for name, count in collector.faults().items()}
    values |= {f"exploration/{name}": value for name, value in collector.exploration.metrics.items()}
    if returns:
        values |= {"train/episode_return": float(np.mean(returns)), "train/episode_length": float(np.mean(lengths))}
    return values
