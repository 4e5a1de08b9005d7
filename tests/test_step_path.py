"""A training step makes few calls of our own: counted by a profile hook."""

import sys
from pathlib import Path

import qframe
from tests.runners import make_runner

PACKAGE = str(Path(qframe.__file__).parent)


def test_a_frame_and_an_update_make_at_most_70_calls_each(tmp_path):
    runner = make_runner(tmp_path, "CartPole-v1", replay_options={"n_step": 3}, total_frames=10_000, num_envs=8)
    runner.schedule.intervals |= {"log": 10**9, "save": 10**9}
    runner.train(400)
    calls = 0

    def hook(frame, event, argument):
        nonlocal calls
        calls += event == "call" and frame.f_code.co_filename.startswith(PACKAGE)

    sys.setprofile(hook)
    try:
        runner.train(504)
    finally:
        sys.setprofile(None)
    runner.collector.envs.close()
    assert calls <= 70 * (13 + 52), f"{calls} calls of ours in 13 steps and 52 updates"
