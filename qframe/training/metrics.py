"""The metrics of a training log."""

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from qframe.formatting import format_count
from qframe.replay import Replay
from qframe.training.learner import Learner
from qframe.training.protocol import CollectorProtocol


def training_metrics(
    collector: CollectorProtocol,
    learner: Learner,
    replay: Replay,
    returns: Sequence[float],
    lengths: Sequence[int],
) -> dict[str, Any]:
    """The metrics of learning, the replay, environment faults, exploration, actors, and the episodes that ended.

    Args:
        collector: steps the environments.
        learner: its mean losses since the last log are taken.
        replay: stores the transitions.
        returns: of the episodes that have ended since the last log.
        lengths: of the same episodes, in frames.
    """
    values = {
        "time/updates": learner.updates,
        "replay/size": len(replay),
        "train/learning_rate": learner.optimizer.lr,
    } | learner.take_metrics()
    if learner.support is not None and learner.support.is_set and any(learner.loss.head.has_auto_bounds):
        values |= dict(zip(("head/v_min", "head/v_max"), learner.loss.head.expressible or (), strict=True))
    values |= {"train/skipped_updates": learner.skipped.total} if learner.skipped.total else {}
    values |= {f"env/{name}": count for name, count in collector.faults().items()}
    values |= {f"exploration/{name}": value for name, value in collector.exploration_metrics().items()}
    values |= {f"actor/{name}": value for name, value in collector.actor_metrics().items()}
    if returns:
        episodes = {"train/episode_return": returns, "train/episode_length": lengths}
        values |= {name: float(statistics.mean(numbers)) for name, numbers in episodes.items()}
    return values


def format_actors(metrics: Mapping[str, Any]) -> str:
    """The actors in a few words for the progress line; empty if there are none.

    >>> of_two = {"actor/0/lag": 1, "actor/0/restarts": 2, "actor/1/lag": 3, "actor/1/restarts": 0}
    >>> format_actors(of_two)
    '2 actors, lag 1–3, 2 restarts'
    """
    lags, restarts = ([v for k, v in metrics.items() if k.endswith(end)] for end in ("/lag", "/restarts"))
    if not lags:
        return ""
    lag = f"{min(lags)}" if min(lags) == max(lags) else f"{min(lags)}–{max(lags)}"
    died = f", {format_count(sum(restarts), 'restart')}" if sum(restarts) else ""
    return f"{format_count(len(lags), 'actor')}, lag {lag}{died}"
