"""Acting: what is handed over, and the statistics of training episodes."""

import numpy as np
import torch

from qframe.data import make_action_space
from qframe.runner.collector import EpisodeStatistics
from tests.training import make_runner


def test_statistics_leave_out_steps_that_only_reset():
    statistics = EpisodeStatistics(2)
    one, no, yes = np.ones(2, np.float32), np.array([False, False]), np.array([True, True])
    statistics.add(one, no, None)
    statistics.add(one, np.array([True, False]), None)
    statistics.add(one, no, np.array([False, True]))
    statistics.add(one, yes, yes)
    returns, lengths = statistics.take()
    assert returns == [2.0, 1.0, 4.0]
    assert lengths == [2, 1, 4]
    assert statistics.take() == ([], [])


def test_transitions_follow_one_another_per_environment(tmp_path):
    collector = make_runner(tmp_path, "qframe-test/Counter-v0", num_envs=3).collector
    before = collector.collect()
    for _ in range(30):
        after = collector.collect()
        for i in range(3):
            if not before["next", "done"][i]:
                assert after["observation"][i].tolist() == before["next", "observation"][i].tolist()
            else:
                assert after["observation"][i, 1] == 0
        assert after["env"].tolist() == [0, 1, 2]
        before = after
    assert collector.exploration.frames == 31 * 3


def test_actions_reach_the_environment_from_its_own_first_number():
    from gymnasium.spaces import Discrete

    space = make_action_space(Discrete(3, start=5), encoding="one-hot")
    assert space.to_env(torch.tensor([0, 2])).tolist() == [5, 7]
    assert space.decode(torch.tensor([2])).tolist() == [[0, 0, 1]]
