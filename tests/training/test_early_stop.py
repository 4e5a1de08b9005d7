import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces

from qframe.config import build
from qframe.config.compose import compose
from qframe.training import EarlyStop
from tests.runners import make_runner


def reason(stop, *means):
    for number, mean in enumerate(means, start=1):
        stop.add_evaluation(1000 * number, mean)
    return stop.reason


def test_by_itself_nothing_ends_a_run():
    stop = EarlyStop()
    stop.set_seconds(1e9)
    assert reason(stop, 1e9, *[0.0] * 99) is None


def test_a_return_that_is_reached_ends_it_and_one_below_does_not():
    assert reason(EarlyStop(eval_return=475), 474.9) is None
    assert reason(EarlyStop(eval_return=475), 10.0, 475.0) == "evaluation 475.0 reached 475 at 2,000 frames"


def test_evaluations_that_are_not_better_end_it_ties_among_them():
    assert reason(EarlyStop(patience=2), 1.0, 0.0, 2.0, 2.0) is None
    assert reason(EarlyStop(patience=2), 1.0, 0.0, 2.0, 2.0, 1.0) == (
        "no evaluation above 2.00 in the last 2, at 5,000 frames"
    )


def test_the_time_is_looked_at():
    stop = EarlyStop(wall_seconds=60)
    stop.set_seconds(59.9)
    assert stop.reason is None
    stop.set_seconds(60.0)
    assert stop.reason == "60 s of training reached the limit of 60 s"


def test_a_resumed_run_keeps_its_count_and_applies_its_new_limits():
    first = EarlyStop(patience=3)
    assert reason(first, 5.0, 4.0, 4.0) is None
    second = EarlyStop(patience=3)
    second.load_state_dict(first.state_dict())
    assert second.reason is None
    second.add_evaluation(4000, 5.0)
    assert second.reason == "no evaluation above 5.00 in the last 3, at 4,000 frames"
    patient = EarlyStop(patience=9)
    patient.load_state_dict(second.state_dict())
    assert patient.reason is None


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"wall_seconds": 0}, "expected wall_seconds above 0, got 0"),
        ({"patience": 0}, "expected patience of at least 1 evaluation, got 0"),
    ],
)
def test_limits_out_of_range_are_refused(words, message):
    with pytest.raises(ValueError, match=message):
        EarlyStop(**words)
    (key,) = words
    config = compose([f"runner.stop.{key}={words[key]}"], provided=build.PROVIDED)
    assert message in str(build.check(config)[0])


def test_a_run_that_is_good_enough_is_finished_with_the_reason(tmp_path):
    runner = make_runner(tmp_path, "CartPole-v1", total_frames=10**6, num_envs=8)
    runner.stop = EarlyStop(eval_return=1.0)
    runner.schedule.intervals["evaluate"] = 2000
    summary = runner.run()
    assert summary["status"] == "finished"
    assert summary["frames"] == 2000
    assert summary["reason"].endswith(f"reached 1 at {summary['frames']:,} frames")
    assert runner.folder.has_checkpoint


class NineTenths(gym.Env):
    """One step, reward .9, which is .8999999761 in 32 bits."""

    observation_space, action_space = spaces.Box(0, 1, (1,)), spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return np.ones(1, np.float32), {}

    def step(self, action):
        return np.ones(1, np.float32), 0.9, True, False, {}


gym.register("qframe-test/NineTenths-v0", NineTenths)


def test_a_return_is_reached_in_the_precision_of_the_environment(tmp_path):
    runner = make_runner(tmp_path, "qframe-test/NineTenths-v0", total_frames=10**6)
    runner.stop = EarlyStop(eval_return=0.9)
    runner.schedule.intervals["evaluate"] = 200
    summary = runner.run()
    assert (summary["frames"], summary["eval_return_mean"], summary["train_return_mean"]) == (200, 0.9, 0.9)
