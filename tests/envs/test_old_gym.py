"""Environments of gym, Gymnasium's predecessor: found, converted, seeded and trained like others."""

import sys

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces

from qframe.cli.main import main
from qframe.envs import GymnasiumEnvs
from qframe.envs.old_gym import FromGym, as_gymnasium

GYM = {
    "__init__.py": "from gym import spaces\nfrom gym.envs import registration\n\n\nclass Env:\n    pass\n",
    "spaces.py": """
import numpy as np


class Box:
    def __init__(self, low, high, shape, dtype):
        self.low, self.high = np.full(shape, low, dtype), np.full(shape, high, dtype)
        self.shape, self.dtype = shape, np.dtype(dtype)


class Discrete:
    def __init__(self, n):
        self.n = n


class Graph:
    pass
""",
    "envs/__init__.py": "",
    "envs/registration.py": """
from types import SimpleNamespace

registry = SimpleNamespace(env_specs={})


def register(id, entry_point, max_episode_steps=None, kwargs=None):
    registry.env_specs[id] = SimpleNamespace(
        entry_point=entry_point, max_episode_steps=max_episode_steps, _kwargs=kwargs or {}
    )
""",
}
OLDLAB = """
import random

import gym
import numpy as np
from gym import spaces
from gym.envs.registration import register


class Coin(gym.Env):
    '''Guess a coin that is shown; the sixth guess ends the episode, or its time.'''

    metadata = {"render.modes": ["human", "rgb_array"], "video.frames_per_second": 7}

    def __init__(self, length=6, is_cut=False):
        self.observation_space = spaces.Box(0, 1, (2,), np.float32)
        self.action_space = spaces.Discrete(2)
        self.length, self.is_cut, self.random = length, is_cut, random.Random()

    def seed(self, seed=None):
        self.random.seed(seed)

    def show(self):
        self.side = self.random.randrange(2)
        return np.eye(2, dtype=np.float32)[self.side]

    def reset(self):
        self.steps = 0
        return self.show()

    def step(self, action):
        reward, self.steps = float(action == self.side), self.steps + 1
        is_over = self.steps == self.length
        return self.show(), reward, is_over, {"TimeLimit.truncated": is_over and self.is_cut}

    def render(self, mode="human"):
        return np.zeros((4, 4, 3), np.uint8)


class Newer(Coin):
    '''The interface of gym 0.26.'''

    def reset(self, *, seed=None, options=None):
        self.seed(seed)
        return super().reset(), {}

    def step(self, action):
        observation, reward, is_over, info = super().step(action)
        return observation, reward, is_over, False, info


register("Coin-v0", entry_point="oldlab:Coin", max_episode_steps=50)
register("Cut-v0", entry_point=Coin, kwargs={"is_cut": True})
register("Newer-v0", entry_point=Newer)
register("Other-v0", entry_point="gym.envs.other:Other")
"""


@pytest.fixture
def oldlab(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "gym" / "envs").mkdir(parents=True)
    for name, text in GYM.items():
        (tmp_path / "gym" / name).write_text(text)
    (tmp_path / "oldlab.py").write_text(OLDLAB)
    for name in [name for name in sys.modules if name == "gym" or name.startswith("gym.")]:
        monkeypatch.delitem(sys.modules, name)
    yield tmp_path
    for name in [name for name in sys.modules if name in ("gym", "oldlab") or name.startswith("gym.")]:
        sys.modules.pop(name)


def made(id, **kwargs):
    return GymnasiumEnvs(id, num_envs=2, vectorization="sync", kwargs=kwargs)


def played(id, **kwargs):
    """Both ends of an episode in which the shown side is guessed, its return, and the observations."""
    episodes = made(id, **kwargs).make_seeded(1, lambda index, episode: 7 + episode)
    observation, seen, total = episodes.reset().observation, [], 0.0
    while True:
        seen.append(observation[0].copy())
        step = episodes.step(observation.argmax(-1))
        total += float(step.reward[0])
        observation = step.next_observation
        if step.terminated[0] or step.truncated[0]:
            episodes.close()
            return bool(step.terminated[0]), bool(step.truncated[0]), total, np.array(seen)


@pytest.mark.parametrize(
    ("id", "terminated", "truncated"),
    [("oldlab:Coin-v0", True, False), ("oldlab.Coin", True, False), ("oldlab:Cut-v0", False, True),
     ("oldlab:Newer-v0", True, False)],
)  # fmt: skip
def test_an_environment_of_gym_is_played_with_its_own_ends_and_seeds(id, terminated, truncated, oldlab):
    first, second = played(id), played(id)
    assert first[:3] == (terminated, truncated, 6.0)
    assert (first[3] == second[3]).all()
    assert len(np.unique(first[3], axis=0)) == 2  # both sides were shown


def test_what_gym_registers_is_kept(oldlab):
    envs = made("oldlab:Coin-v0", length=5)
    assert envs.protocol == {"env": "oldlab:Coin-v0", "max_episode_steps": 50, "kwargs": {"length": 5}}
    assert envs.action_space == spaces.Discrete(2)
    assert envs.pictures_per_second == 7
    assert envs.note.startswith("written for gym, Gymnasium's predecessor, and converted: an episode's end is a trunc")
    assert "differ" not in envs.note


def test_wrong_ids_and_arguments_are_refused_by_name(oldlab):
    with pytest.raises(
        ValueError, match=r"'oldlab:Coin-v1'; nearest is 'Coin-v0'; oldlab has Coin-v0, Cut-v0, Newer-v0$"
    ):
        made("oldlab:Coin-v1")
    with pytest.raises(ValueError, match="unexpected keyword argument 'size'.*; env.kwargs may hold length=6, is_cut="):
        made("oldlab:Coin-v0", size=3)


def test_a_package_that_needs_gym_says_how_to_get_it(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setitem(sys.modules, "gym", None)
    (tmp_path / "needs_gym.py").write_text("import gym")
    with pytest.raises(ValueError, match="'gym', Gymnasium's predecessor, .*, which is not installed; pip install gym"):
        made("needs_gym:Coin-v0")


def test_it_trains_and_is_filmed_from_the_command_line(oldlab, capsys):
    sizes = ["total_frames=400", "runner.learning_starts=100", "evaluation.final_episodes=2", "hydra.run.dir=run"]
    words = ["env=gymnasium", "env.id=oldlab:Coin-v0", "--trust", "oldlab", "compile=false"]
    assert main(["train", *words, *sizes]) == 0
    assert main(["eval", "run", "--episodes", "1", "--video", "--trust", "oldlab"]) == 0
    assert "Traceback" not in capsys.readouterr().err


def test_spaces_are_converted_at_any_depth():
    class Discrete:
        n = 3

    class Tuple:
        spaces = (Discrete(), Discrete())

    class Dict:
        spaces = {"a": Tuple(), "b": spaces.MultiBinary(2)}  # noqa: RUF012

    class Graph:
        pass

    pair = spaces.Tuple([spaces.Discrete(3), spaces.Discrete(3)])
    assert as_gymnasium(Dict()) == spaces.Dict({"a": pair, "b": spaces.MultiBinary(2)})
    with pytest.raises(ValueError, match="no counterpart in Gymnasium; it can be Box, Discrete"):
        as_gymnasium(Graph())


def test_an_attribute_of_the_environment_is_found_through_the_conversion():
    class Masked:
        observation_space = action_space = spaces.Discrete(2)

        def action_masks(self):
            return [True, False]

    env = FromGym(Masked())
    assert env.action_masks() == [True, False]
    assert isinstance(env, gymnasium.Env)
