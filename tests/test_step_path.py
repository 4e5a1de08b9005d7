"""A reader follows one training step through few files: counted by a profile hook."""

import sys
from collections import Counter
from pathlib import Path

import qframe
from tests.training import make_runner

PACKAGE = str(Path(qframe.__file__).parent)


def test_a_step_with_updates_passes_at_most_15_files_and_1700_lines_of_functions(tmp_path):
    runner = make_runner(tmp_path, "CartPole-v1", replay_options={"n_step": 3}, total_frames=10_000, num_envs=8)
    runner.logger.every = runner.checkpoints.every = 10**9
    while runner.frames < 400:
        runner._advance()
    met, calls = set(), 0

    def hook(frame, event, argument):
        nonlocal calls
        if event == "call" and frame.f_code.co_filename.startswith(PACKAGE):
            met.add(frame.f_code)
            calls += 1

    sys.setprofile(hook)
    try:
        while runner.frames < 504:
            runner._advance()
    finally:
        sys.setprofile(None)
    runner.collector.envs.close()
    lines = Counter()
    for code in met:
        last = max(line for _, _, line in code.co_lines() if line)
        lines[code.co_filename.removeprefix(PACKAGE)] += last - code.co_firstlineno + 1
    listed = "\n".join(f"{count:4} {path}" for path, count in sorted(lines.items()))
    assert len(lines) <= 15, listed
    assert lines.total() <= 1700, listed
    assert calls <= 70 * (13 + 52), f"{calls} calls of ours in 13 steps and 52 updates"
