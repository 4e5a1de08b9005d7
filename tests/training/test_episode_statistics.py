"""Statistics of training episodes: their returns and lengths."""

import numpy as np

from qframe.training.episode_statistics import EpisodeStatistics


def test_statistics_leave_out_steps_that_only_reset():
    statistics = EpisodeStatistics(2)
    one, no, yes = np.ones(2, np.float32), np.array([False, False]), np.array([True, True])
    statistics.add(one, no, None)
    statistics.add(one, np.array([True, False]), None)
    statistics.add(one, no, np.array([False, True]))
    statistics.add(one, yes, yes)
    returns, lengths, _ = statistics.take()
    assert returns == [2.0, 1.0, 4.0]
    assert lengths == [2, 1, 4]
    assert statistics.take() == ([], [], {})
