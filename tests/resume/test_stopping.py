"""Signals: a checkpoint wherever the run was, an end within seconds, and a status that says so."""

import itertools
import json
import multiprocessing
import random
import signal
import subprocess
import sys
import time
import warnings
from functools import partial

import gymnasium as gym
import numpy as np
import pytest
import torch

from qframe.checkpoints import Checkpoints, load_checkpoint
from qframe.errors import RunError, Stopped
from qframe.runs.checkpoint_names import checkpoints_in
from qframe.runs.lock import Locked
from qframe.training.signals import StopSignals
from tests.fingerprint import fingerprint
from tests.resume.test_exact_resume import make


def status(folder):
    return json.loads((folder / "summary.json").read_text())["status"]


def interrupt_after(runner, part, name, calls, number=signal.SIGTERM):
    """Raise a signal within the n-th call of a method."""
    method, seen = getattr(part, name), []

    def called(*arguments, **options):
        seen.append(1)
        if len(seen) == calls:
            signal.raise_signal(number)
        return method(*arguments, **options)

    setattr(part, name, called)


def resume(folder):
    runner = make(folder)
    runner.load_state_dict(load_checkpoint(folder / "checkpoints"))
    runner.run()


PLACES = {
    "a step": (lambda runner: (runner.collector, "collect", 77)),
    "an update": (lambda runner: (runner.learner, "update", 123)),
    "a log": (lambda runner: (runner.learner, "take_metrics", 3)),
    "an evaluation": (lambda runner: (runner.evaluation, "play", 2)),
    "the final evaluation": (lambda runner: (runner.evaluation, "play", 3)),
    "a checkpoint": (lambda runner: (runner.checkpoints, "save", 3)),
}


@pytest.fixture(scope="module")
def never_stopped(tmp_path_factory):
    """The fingerprint of the run that never was."""
    folder = tmp_path_factory.mktemp("runs") / "whole"
    make(folder).run()
    return fingerprint(folder)


@pytest.mark.parametrize("place", PLACES)
def test_a_run_that_was_stopped_anywhere_resumes_to_be_the_one_that_never_was(tmp_path, place, never_stopped):
    runner = make(tmp_path / "stopped")
    interrupt_after(runner, *PLACES[place](runner))
    with pytest.raises(Stopped, match="with a checkpoint; resume with: qframe resume") as stopped:
        runner.run()
    assert stopped.value.number == signal.SIGTERM
    assert status(tmp_path / "stopped") == "stopped"
    resume(tmp_path / "stopped")
    assert fingerprint(tmp_path / "stopped") == never_stopped
    assert status(tmp_path / "stopped") == "finished"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1])
def test_a_stopped_run_names_its_signal(tmp_path, number):
    runner, before = make(tmp_path), signal.getsignal(number)
    signal.signal(number, signal.default_int_handler)  # under nohup, SIGHUP is ignored, and stays so
    interrupt_after(runner, runner.collector, "collect", 3, number)
    try:
        with pytest.raises(Stopped) as stopped:
            runner.run()
    finally:
        signal.signal(number, before)
    assert stopped.value.number == number


def test_a_second_ctrl_c_stops_at_once_and_the_status_is_not_running(tmp_path):
    runner = make(tmp_path)
    interrupt_after(runner, runner.checkpoints, "save", 2, signal.SIGINT)
    interrupt_after(runner, runner.collector, "collect", 60, signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        runner.run()
    assert status(tmp_path) == "stopped"
    resume(tmp_path)


class Stuck(gym.Env):
    """An environment whose 80th step does not end."""

    observation_space = gym.spaces.Box(-np.inf, np.inf, (1,), np.float32)
    action_space = gym.spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        self.steps = 0
        return np.zeros(1, np.float32), {}

    def step(self, action):
        self.steps += 1
        if self.steps == 80:
            time.sleep(60)
        return np.zeros(1, np.float32), 1.0, False, False, {}


@pytest.mark.parametrize("vectorization", ["sync", "async"])
def test_environments_that_do_not_come_back_are_given_up_and_the_last_checkpoint_stays(tmp_path, vectorization):
    gym.register("qframe-test/Stuck-v0", Stuck)
    try:
        runner = make(tmp_path, env="qframe-test/Stuck-v0", vectorization=vectorization, evaluate_every=10_000)
    finally:
        del gym.registry["qframe-test/Stuck-v0"]
    runner.signals = StopSignals(patience=0.3)
    interrupt_after(runner, runner.collector, "collect", 80)
    started = time.monotonic()
    with pytest.raises(Stopped, match="the environments did not complete their step"):
        runner.run()
    assert time.monotonic() - started < 10
    assert status(tmp_path) == "stopped"
    assert load_checkpoint(tmp_path / "checkpoints")["run"]["frames"] == 150


def test_a_second_process_is_refused_while_the_first_trains(tmp_path):
    runner = make(tmp_path)
    runner.folder.lock.acquire()
    imports = "from pathlib import Path; from qframe.runs.folder import RunFolder"
    code = f"{imports}; RunFolder(Path({str(tmp_path)!r})).lock.acquire()"
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "Locked: the run in " in other.stderr
    assert "is being trained by process" in other.stderr
    runner.folder.lock.release()
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
    assert issubclass(Locked, RunError)
    runner.collector.close()


def killed(work, seconds, *, once=None):
    """Work in a process that is killed after ``seconds``, counted from the first checkpoint in ``once``."""
    process = multiprocessing.get_context("fork").Process(target=work)
    with warnings.catch_warnings():  # from Python 3.12 on: this process has threads
        warnings.simplefilter("ignore", DeprecationWarning)
        process.start()
    until = time.monotonic() + 60
    while once is not None and not checkpoints_in(once) and time.monotonic() < until:
        time.sleep(0.01)
    time.sleep(seconds)
    process.kill()
    process.join()


def resume_or_start(folder):
    """Do as a queue does that starts the same command again."""
    runner = make(folder, keep=2)
    if checkpoints_in(folder / "checkpoints"):
        runner.load_state_dict(load_checkpoint(folder / "checkpoints"))
    runner.run()


def test_a_run_that_is_killed_again_and_again_is_the_one_that_never_was(tmp_path):
    make(tmp_path / "whole").run()
    rng = random.Random(3)
    for _ in range(4):
        killed(partial(resume_or_start, tmp_path / "killed"), rng.uniform(0.2, 1.5))
    if status(tmp_path / "killed") != "finished":
        resume_or_start(tmp_path / "killed")
    assert fingerprint(tmp_path / "killed") == fingerprint(tmp_path / "whole")


def save_on(folder):
    checkpoints = Checkpoints(every=1, keep=2)
    for number in itertools.count():
        numbers = {str(i): torch.full((50_000,), float(number)) for i in range(5)}
        checkpoints.save(folder, number, {"run": {"frames": number}, "replay": numbers})


def test_a_kill_during_a_save_leaves_a_whole_checkpoint(tmp_path):
    rng = random.Random(4)
    for number in range(5):
        folder = tmp_path / str(number)
        killed(partial(save_on, folder), rng.uniform(0.0, 0.3), once=folder)
        state = load_checkpoint(folder)
        expected = torch.full((50_000,), float(state["run"]["frames"]))
        assert all(torch.equal(state["replay"][str(i)], expected) for i in range(5))


def test_a_hangup_that_nohup_ignores_stays_ignored(tmp_path):
    earlier = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with StopSignals() as signals:
            signal.raise_signal(signal.SIGHUP)
            signals.check()
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, earlier)
