"""Environments by id or class: where they are found, and the message if they are not."""

import sys

import gymnasium as gym
import pytest

from qframe.cli.main import main
from qframe.envs import FaultyEnvironment, GymnasiumEnvs, registry

MODULE = """
import gymnasium as gym
import numpy as np
from gymnasium import spaces
from gymnasium.envs.classic_control import CartPoleEnv


class Odd(gym.Env):
    '''Nested observations of odd types, actions from 1, a mask; what it gives breaks at a step.'''

    def __init__(self, break_at=10**9, how="key"):
        self.observation_space = spaces.Dict({
            "half": spaces.Box(-1, 1, (3,), np.float16),
            "double": spaces.Box(-1, 1, (2, 1), np.float64),
            "count": spaces.Box(0, 1000, (1,), np.uint16),
            "on": spaces.Box(0, 1, (2,), bool),
            "bits": spaces.MultiBinary(3),
            "kind": spaces.Discrete(4, start=1),
        })
        self.action_space = spaces.Discrete(3, start=1)
        self.break_at, self.how, self.total = break_at, how, 0

    def look(self):
        self.observation_space.seed(int(self.np_random.integers(2**31)))
        observation = self.observation_space.sample()
        self.mask = np.ones(3, np.int8)
        self.mask[observation["kind"] % 3] = 0
        if self.total >= self.break_at:
            if self.how == "key":
                del observation["half"]
            elif self.how == "shape":
                observation["half"] = np.zeros(4)
            elif self.how == "type":
                return np.zeros(3)
        return observation

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.steps = 0
        return self.look(), {"action_mask": self.mask}

    def step(self, action):
        assert self.mask[action - 1], "illegal"
        self.steps, self.total = self.steps + 1, self.total + 1
        return self.look(), action == 2, False, self.steps == 8, {"action_mask": self.mask}


class NoInfo(Odd):
    def reset(self, *, seed=None, options=None):
        return super().reset(seed=seed)[0]


gym.register("Odd-v0", entry_point=Odd)
"""

WORDS = {
    "needs_cv2": "raise ModuleNotFoundError('no cv2', name='cv2.typing')",
    "windowed": "raise RuntimeError('no Display')",
    "several": "class Game:\n    pass\n\n\ndef make():\n    return Game()\n",
    "blind": """from gymnasium import Env, spaces
class Odd(Env):
    observation_space = action_space = spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        raise RuntimeError("no display")
""",
}


@pytest.fixture
def mylab(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "mylab.py").write_text(MODULE)
    (tmp_path / "broken.py").write_text("import not_there_at_all")
    (tmp_path / "raising.py").write_text("1 / 0")
    for name, text in WORDS.items():
        (tmp_path / f"{name}.py").write_text(text)
    (tmp_path / "outer").mkdir()
    (tmp_path / "outer" / "__init__.py").write_text("")
    (tmp_path / "outer" / "core.py").write_text("")
    (tmp_path / "outer" / "envs.py").write_text("")
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    yield tmp_path
    gym.registry.pop("Odd-v0", None)
    for name in ("mylab", "broken", "raising", *WORDS, "outer", "outer.envs"):
        sys.modules.pop(name, None)


def envs(id, vectorization="sync", **kwargs):
    return GymnasiumEnvs(id, num_envs=2, vectorization=vectorization, kwargs=kwargs)


@pytest.mark.parametrize("id", ["mylab:Odd-v0", "mylab:Odd", "mylab.Odd"])
def test_a_users_own_environment_is_found_by_id_or_class(id, mylab):
    assert envs(id).action_space == gym.spaces.Discrete(3, start=1)
    assert envs(id).has_masks


@pytest.mark.parametrize(
    ("id", "message"),
    [
        ("mylab.Od", "no environment is registered as 'mylab.Od'; nearest is 'Odd'"),
        ("mylab:Odd-v1", "registered as 'mylab:Odd-v1'; nearest is 'Odd-v0'"),
        ("mylab.CartPoleEnv", "'mylab.CartPoleEnv' is neither a subclass of gymnasium.Env nor a function, defined in"),
        ("mylab.NoInfo", r"mylab.NoInfo: reset must return \(observation, info\), but returned dict; correct it"),
        ("not_mine.Odd", "no module 'not_mine' found for 'not_mine.Odd'; install it"),
        ("broken:Odd", "importing 'broken' for 'broken:Odd' needs the package 'not_there_at_all'"),
        ("raising.Odd", "importing 'raising' for 'raising.Odd' failed: ZeroDivisionError: division by zero"),
        ("LunarLandr-v3", "nearest is 'LunarLander-v3'"),
        ("zzz", "registered as 'zzz'; an environment of another package is env.id=package:Id-v0 --trust"),
        ("math.pi", "'math.pi' is neither a subclass of gymnasium.Env nor a function, defined in math: 3.14"),
        ("mylab/Odd-v0", "if the package mylab registers it: env.id=mylab:mylab/Odd-v0 --trust mylab"),
        ("nowhere/Odd-v0", "an environment of another package is env.id=package:Id-v0 --trust package"),
        (
            "outer:Odd-v0",
            r"outer.function, or a module .* as env.id=outer.envs:Odd-v0; there are outer.core, outer.envs$",
        ),
        ("needs_cv2.Odd", "needs the package 'cv2', which is not installed; pip install opencv-python"),
        (
            "windowed.Odd",
            "failed: RuntimeError: no Display, at .*windowed.py:1; it needs a display: start .* with xvfb",
        ),
        ("blind.Odd", "reset failed: RuntimeError: no display, .*py:6; it needs a display: start .* xvfb-run -a$"),
        ("several.make", "several.make makes something else than a gymnasium.Env, as .*; write a gymnasium.Env around"),
        ("several.Game", "nor a function, defined in several: .*; write a gymnasium.Env around it"),
        ("MinAtar/Breakot-v1", "nearest is 'MinAtar/Breakout-v1'"),
        ("MiniGrid-Empt-5x5-v0", "nearest is 'MiniGrid-Empty-5x5-v0'"),
    ],
)
def test_an_unknown_environment_is_refused(id, message, mylab):
    with pytest.raises(ValueError, match=message):
        envs(id)


def test_a_missing_package_is_named_with_its_pip_command(monkeypatch):
    monkeypatch.setitem(sys.modules, "minatar.gym", None)
    for id in [id for id in gym.registry if id.startswith("MinAtar/")]:
        monkeypatch.delitem(gym.registry, id)
    with pytest.raises(ValueError, match=r'for environment MinAtar/Breakout-v1, .*; pip install -e ".*\[minatar\]"'):
        envs("MinAtar/Breakout-v1")


def test_a_package_that_needs_another_is_not_called_missing(monkeypatch):
    def broken(name):
        raise ModuleNotFoundError("No module named 'pygame'", name="pygame")

    monkeypatch.setattr(registry, "import_module", broken)
    for id in [id for id in gym.registry if id.startswith("MinAtar/")]:
        monkeypatch.delitem(gym.registry, id)
    with pytest.raises(ValueError, match="importing 'minatar.gym' for 'MinAtar/Breakout-v1' failed: ModuleNotFoundE"):
        envs("MinAtar/Breakout-v1")


@pytest.mark.parametrize(
    ("how", "found"),
    [("key", "the keys .'bits', 'count', 'double', 'kind', 'on'."), ("shape", r"one of shape \(4,\)"),
     ("type", "ndarray")],
)  # fmt: skip
def test_a_worker_process_reports_an_observation_of_another_layout(how, found, mylab):
    episodes = envs("mylab.Odd", "async", break_at=3, how=how).make(0)
    try:
        mask = episodes.reset().mask
        for _ in range(2):
            mask = episodes.step(mask.argmax(-1) + 1).mask
        with pytest.raises(FaultyEnvironment, match=f"environment 0: .* in Dict.*, but returned {found}"):
            episodes.step(mask.argmax(-1) + 1)
    finally:
        episodes.close()


def test_an_environment_trains_from_its_own_folder(mylab, capsys):
    sizes = ["total_frames=400", "runner.learning_starts=100", "evaluation.final_episodes=2", "hydra.run.dir=run"]
    words = ["env=gymnasium", "env.id=mylab:Odd-v0", "env.vectorization=async"]
    for id in ("mylab:Odd-v0", "mylab.Odd"):
        assert main(["check", "env=gymnasium", f"env.id={id}"]) == 2
        assert f"the id '{id}' imports a module that is not trusted; add --trust mylab" in capsys.readouterr().err
    assert main(["train", *words, "--trust", "mylab", *sizes]) == 0, capsys.readouterr().err
    assert main(["eval", "run", "--episodes", "2", "--trust", "mylab"]) == 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("env.wrappers=[FlatenObservation]", "env.wrappers[0]: expected a dotted name such as"),
        ("env.wrappers=[FlatenObservation]", "the nearest wrapper of Gymnasium is FlattenObservation"),
        ("env.wrappers=[os.system]", "env.wrappers[0]: 'os.system' is not a class or function written in qframe"),
        ("env.wrappers=[{_target_:TimeLimit,max_steps:3}]", "nearest is 'env.wrappers[0].max_episode_steps'"),
    ],
)
def test_wrappers_are_named_on_the_command_line(words, message, capsys):
    assert main(["check", words]) == 2
    assert message in capsys.readouterr().err
    assert main(["check", "env.wrappers=[{_target_:TimeLimit,max_episode_steps:3},FlattenObservation]"]) == 0
