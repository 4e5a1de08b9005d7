"""``scripts/cost_growth.py``: steps per decade, and one point measured."""

import gymnasium as gym
import pytest

from scripts import cost_growth as growth


def test_a_step_is_per_decade():
    assert growth.per_decade(2.0, 10, 100) == pytest.approx(2.0)
    assert growth.per_decade(4.0, 10, 1000) == pytest.approx(2.0)
    few, many = growth.points("actions")[0], growth.points("actions")[-1]
    assert growth.work(many) > growth.work(few)


@pytest.mark.parametrize(("found", "status"), [([100.0, 90.0, 80.0, 70.0], 0), ([100.0, 90.0, 50.0, 45.0], 1)])
def test_a_cliff_that_the_arithmetic_does_not_explain_is_marked(found, status, monkeypatch, capsys):
    speeds = iter(found)
    monkeypatch.setattr(growth, "speed", lambda point, seconds: next(speeds))
    monkeypatch.setattr("sys.argv", ["cost_growth.py", "buffer"])
    assert growth.main() == status
    assert capsys.readouterr().out.count("NOT EXPLAINED") == status
    gym.registry.pop("qframe/Choices-v0")


def test_a_point_is_measured_while_learning_with_a_full_replay():
    point = growth.points("buffer")[0]._replace(words=("env=cartpole", "replay.capacity=2000"), num_envs=10)
    assert growth.speed(point, 0.01) > 0
