"""Environments that break Gymnasium's interface: the message is the same in one process and in several."""

import re
from collections import UserDict

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces

from qframe.cli.main import main
from qframe.envs import FaultyEnvironment, GymnasiumEnvs
from qframe.envs.checks import fault_of, misfit_of, raised

ZEROS = np.zeros(2, np.float32)
FAULTS = {
    "four": ("step must return .*, but returned a tuple of 4|not enough values to unpack", (ZEROS, 0.0, False, {})),
    "no info": ("info must be a dict, but is NoneType; correct it", (ZEROS, 0.0, False, False, None)),
    "None reward": ("the reward must be a number, but is None", (ZEROS, None, False, False, {})),
    "text reward": ("the reward must be a number, but is '1'", (ZEROS, "1", False, False, {})),
    "array reward": (r"but is an array of shape \(2,\); several agents", (ZEROS, ZEROS, False, False, {})),
    "None end": ("terminated must be True or False, but is None", (ZEROS, 0.0, None, False, {})),
    "text end": ("terminated must be True or False, but is 'no'", (ZEROS, 0.0, "no", False, {})),
    "array end": (r"truncated must be True or False, but is .*; use bool\(truncated\)", (ZEROS, 0.0, 0, ZEROS, {})),
    "shape": (r"return an observation in .*, but returned one of shape \(3,\)", (np.zeros(3), 0.0, False, False, {})),
    "None": ("step must return an observation in Box.*, but returned NoneType", (None, 0.0, False, False, {})),
    "ragged": ("an observation in Box.*, but returned rows of several lengths", ([[1], [1, 2]], 0.0, False, False, {})),
    "complex": ("in Box.*, but returned numbers of type complex128", (np.zeros(2, complex), 0.0, False, False, {})),
}  # fmt: skip


class Faulty(gym.Env):
    """Sound until step ``at``, which returns what ``fault`` names, or raises it."""

    observation_space, action_space = spaces.Box(-1.0, 1.0, (2,), np.float32), spaces.Discrete(2)

    def __init__(self, fault="", at=3):
        self.fault, self.at, self.count = fault, at, 0

    def reset(self, *, seed=None, options=None):
        if self.fault == "reset" and self.count >= self.at:
            raise KeyError("start")
        return ZEROS, {}

    def step(self, action):
        self.count += 1
        if self.count < self.at:
            return [ZEROS, np.float32(1.0), np.zeros(1, np.bool_), 0.0, UserDict(fault="none")]
        if self.fault == "raises":
            return ZEROS, 1 / 0, False, False, {}
        if self.fault == "leaves":
            raise SystemExit("bye")
        return FAULTS[self.fault][1] if self.fault in FAULTS else (ZEROS, 1.0, True, False, {})


@pytest.fixture(autouse=True)
def registered():
    gym.register("qframe-test/Faulty-v0", Faulty, max_episode_steps=100)
    yield
    del gym.registry["qframe-test/Faulty-v0"]


def envs(vectorization="sync", **kwargs):
    return GymnasiumEnvs("qframe-test/Faulty-v0", num_envs=2, vectorization=vectorization, kwargs=kwargs)


def last_of_three(vectorization, **kwargs):
    episodes = envs(vectorization, **kwargs).make(0)
    try:
        episodes.reset()
        return [episodes.step(np.zeros(2, np.int64)) for _ in range(3)][-1]
    finally:
        episodes.close()


RAISED = {
    "raises": r"step failed: ZeroDivisionError: .*, at .*test_checks.py:\d+; correct it in a wrapper",
    "leaves": r"step failed: SystemExit: bye, at .*test_checks.py:\d+; correct it in a wrapper",
    "reset": r"reset failed: KeyError: 'start', at .*test_checks.py:\d+; correct it in a wrapper",
}
ALL = {name: message for name, (message, _) in FAULTS.items()} | RAISED


@pytest.mark.parametrize("vectorization", ["sync", "async"])
@pytest.mark.parametrize("fault", ALL)
def test_a_fault_during_a_run_names_the_environment(fault, vectorization):
    with pytest.raises(FaultyEnvironment, match=f"environment 0: .*({ALL[fault]})"):
        last_of_three(vectorization, fault=fault)


@pytest.mark.parametrize("fault", ALL)
def test_a_fault_of_the_first_step_is_found_before_training(fault):
    with pytest.raises(ValueError, match=f"^qframe-test/Faulty-v0: .*({ALL[fault].partition('|')[0]})"):
        envs(fault=fault, at=0 if fault == "reset" else 1)


def test_numbers_of_other_types_that_fit_are_accepted():
    step = last_of_three("async")
    assert (step.reward.tolist(), step.terminated.tolist()) == ([1.0, 1.0], [True, True])
    assert step.truncated.dtype == np.bool_


class Constructed(Faulty):
    def __init__(self, how="raises"):
        if how == "again":
            try:
                self.levels = {}["hrad"]
            except KeyError:
                raise ValueError("no level 'hrad'; choose easy") from None
        if how == "raises":
            self.at = 1 / 0
        if how == "types":
            self.at = len(3)
        if how == "leaves":
            raise SystemExit(3)
        if how == "no space":
            self.observation_space = None


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("raises", r"making .*Constructed with kwargs .* failed: ZeroDivisionError: .*, at .*test_checks.py:"),
        ("again", r"ValueError: no level 'hrad'; choose easy, at .*test_checks.py:"),
        ("types", r"TypeError: object of type 'int' has no len\(\), at .*test_checks.py:"),
        ("leaves", "SystemExit: 3, at .*test_checks.py:"),
        ("no space", "observation_space must be a space of gymnasium.spaces, but is None; correct it in a wrapper"),
    ],
)
def test_a_failing_constructor_is_reported_with_its_line(how, message, capsys):
    with pytest.raises(ValueError, match=message):
        GymnasiumEnvs(f"{__name__}.Constructed", num_envs=1, vectorization="sync", kwargs={"how": how})
    assert main(["check", "env=gymnasium", f"env.id={__name__}.Constructed", "--trust", "tests"]) == 2
    assert f"making {__name__}.Constructed failed: ZeroDivisionError" in capsys.readouterr().err


def test_a_command_reports_a_fault_without_a_traceback(tmp_path, capfd):
    words = ["env=gymnasium", "env.id=qframe-test/Faulty-v0", "env.kwargs.fault=four", f"hydra.run.dir={tmp_path}/run"]
    assert main(["check", *words, "env.kwargs.at=1"]) == 2
    message = capfd.readouterr().err
    assert "env: qframe-test/Faulty-v0: step must return (observation, reward, terminated," in message
    assert main(["train", *words, "env.kwargs.at=20", "env.vectorization=async"]) == 2
    message += capfd.readouterr().err
    assert "qframe: environment 0: step failed: ValueError: not enough values to unpack" in message
    assert "Traceback" not in message


def test_the_step_of_the_check_is_legal():
    class Strict(gym.Env):
        observation_space = spaces.Discrete(2)

        def __init__(self, space, mask, legal):
            self.action_space, self.mask, self.legal = space, mask, legal

        def reset(self, *, seed=None, options=None):
            return 0, {"action_mask": self.mask}

        def step(self, action):
            if not np.array_equal(action, self.legal):
                raise ValueError(f"illegal: {action}")
            return 0, 0.0, False, False, {}

    assert fault_of(Strict(spaces.Discrete(3, start=5), [0, 0, 1], 7)) is None
    assert fault_of(Strict(spaces.MultiDiscrete([2, 3]), [0, 1, 0, 1, 0], [1, 1])) is None
    assert fault_of(Strict(spaces.MultiDiscrete([2, 3]), (np.array([0, 1]), np.array([0, 0, 1])), [1, 2])) is None
    assert fault_of(Strict(spaces.MultiDiscrete([2, 2]), [[0, 1], [1, 0]], [1, 0])) is None
    assert fault_of(Strict(spaces.MultiBinary(2), [0, 1, 1, 0], [1, 0])) is None
    assert "ValueError: illegal: 7, at" in str(fault_of(Strict(spaces.Discrete(3, start=5), [0, 0, 1], 6)))


@pytest.mark.parametrize(
    ("observation", "dtype", "misfit"),
    [
        ([0.0, 1.0], np.uint8, "numbers of type float64"),
        ([0, 1], np.float32, None),
        ([0.0, 1.0], np.float32, None),
        ([-1, 1], np.uint8, "numbers of type int64"),
        (["a", "b"], np.uint8, "list"),
    ],
)
def test_numbers_fit_as_numpy_would_cast_them(observation, dtype, misfit):
    assert misfit_of(observation, spaces.Box(0, 1, (2,), dtype)) == misfit


def test_an_error_raised_in_a_library_names_the_environments_lines():
    layer = torch.nn.Sequential(torch.nn.Sequential(torch.nn.Linear(2, 2)))
    with pytest.raises(RuntimeError, match="mat1") as error:
        layer(torch.zeros(1, 3))
    assert re.search(r", at \S*test_checks.py:\d+$", raised(error.value))


def test_an_error_names_no_lines_of_numpy():
    def inner():
        np.stack([np.zeros(2), np.zeros(3)])

    with pytest.raises(ValueError, match="same shape") as error:
        inner()
    message = raised(error.value)
    assert message.count("test_checks.py") == 2
    assert "numpy" not in message
    assert raised(KeyError()) == "KeyError"
