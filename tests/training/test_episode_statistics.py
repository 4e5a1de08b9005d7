"""Statistics of training episodes; and the warning, given once, of returns that a categorical head cannot express."""

import numpy as np
import torch

from qframe.cli.main import main
from qframe.heads import CategoricalHead, HLGaussHead, QuantileHead, ScalarHead
from qframe.training.episode_statistics import EpisodeStatistics, ReturnRange


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


def test_the_range_is_that_of_every_step_of_finished_episodes():
    """Returns 1 + .5·(−8 + .5·4) = −2, −6 and 4; the second environment's episode is not over."""
    seen = ReturnRange(0.5, 2, within=(-6.0, 4.0))
    for reward, over in ((1.0, False), (-8.0, False), (4.0, True)):
        seen.add(np.array([reward, 100.0]), np.array([over, False]), None)
    assert (seen.low, seen.high) == (-6.0, 4.0)
    assert seen.warning() is None


def test_steps_that_only_reset_do_not_count():
    seen = ReturnRange(0.5, 1, within=(0.0, 1.0))
    seen.add(np.array([7.0]), np.array([False]), np.array([False]))
    seen.add(np.array([2.0]), np.array([True]), np.array([True]))
    assert (seen.low, seen.high) == (2.0, 2.0)


def test_returns_outside_the_support_are_warned_of_once():
    seen = ReturnRange(0.5, 1, within=(0.0, 1.0))
    seen.add(np.array([2.0]), np.array([True]), None)
    assert "returns range from 2.0 to 2.0, but the head's support from 0.0 to 1.0" in str(seen.warning())
    assert seen.warning() is None


def test_heads_say_what_they_can_express():
    assert ScalarHead(4, 2).expressible is None
    assert QuantileHead(4, 2).expressible is None
    assert CategoricalHead(4, 2, v_min=-3.0, v_max=5.0).expressible == (-3.0, 5.0)
    assert HLGaussHead(4, 2, v_min=-3.0, v_max=5.0).expressible == (-3.0, 5.0)
    low, high = CategoricalHead(4, 2, v_min=-1.0, v_max=1.0, transform="h").expressible
    assert torch.allclose(torch.tensor([low, high]), torch.tensor([-2.985, 2.985]), atol=0.02)  # h(3) is about 1


def test_a_support_that_is_too_narrow_is_warned_of_on_the_console(tmp_path, capsys):
    words = ["head=categorical", "head.v_max=5", "total_frames=1500", "evaluation.final_episodes=1"]
    assert main(["train", *words, f"hydra.run.dir={tmp_path}"]) == 0
    shown = capsys.readouterr().out
    assert "but the head's support from 0.0 to 5.0; widen head.v_min and head.v_max" in shown
