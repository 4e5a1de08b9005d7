"""The one-step value estimator of Q-learning."""

from qframe.estimators.protocol import Batch, Bootstrap, Values
from qframe.functional.action import greedy
from qframe.functional.backup import Backup


class TD0:
    """The one-step target, ``r + γ · z(s′, argmax_a q(s′, a))``; n steps where the replay folded n.

    See "Human-level control through deep reinforcement learning", Mnih et al., 2015, algorithm 1.
    """

    requires: frozenset[str] = frozenset()

    def __call__(self, batch: Batch, values: Values) -> Bootstrap:
        return Bootstrap(greedy(values.selector, batch.next_mask), Backup(batch.reward, batch.discount))
