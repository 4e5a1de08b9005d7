from math import inf

import pytest

from qframe.runs.curves import Reached, curves, time_to, usual_threshold
from qframe.runs.folder import RunFolder
from tests.runs.folders import write_run


@pytest.fixture
def make(tmp_path):
    def one(name, *curve):
        return RunFolder(write_run(tmp_path / name, score=0.0, curve=curve))

    return one


def test_every_run_has_its_latest_evaluation_at_every_frame_of_all(make):
    found = curves([make("a", (100, 1.0), (200, 2.0), (400, 4.0)), make("b", (104, 5.0), (208, 6.0), (300, 7.0))])
    assert found.frames.tolist() == [104, 200, 208, 300]  # from where both have one to where the first ends
    assert found.returns.tolist() == [[1, 2, 2, 2], [5, 5, 6, 7]]
    low, high = found.quartiles
    assert (low[0], high[0]) == (2.0, 4.0)


def test_without_an_evaluation_there_is_no_curve(make):
    found = curves([make("a"), make("b", (100, 1.0))])
    assert found.frames.shape == (0,)
    assert found.returns.shape == (2, 0)


def test_the_time_to_a_return_is_its_median_over_runs(make):
    runs = [make("a", (100, 1.0), (200, 5.0)), make("b", (100, 5.0)), make("c", (100, 1.0), (400, 9.0))]
    assert time_to(5.0, runs) == Reached(3, 200.0, 2.0)
    assert time_to(9.0, runs) == Reached(1, inf, inf)  # a run that never did is infinitely late
    assert time_to(9.0, runs[2:]) == Reached(1, 400.0, 4.0)
    assert time_to(5.0, [*runs, make("d", (100, 1.0))]) == Reached(3, 300.0, 3.0)
    assert time_to(5.0, [*runs[1:], make("e", (100, 1.0)), make("f", (100, 1.0))]) == Reached(2, inf, inf)


def test_the_usual_threshold_is_nine_tenths_up(make):
    assert usual_threshold([make("a", (100, 0.0), (200, 10.0)), make("b", (100, 5.0))]) == 9.0
    assert usual_threshold([make("c")]) is None
