"""Other packages' ways in: entries, pictures, groups of actions, factories, arguments, registration, empty masks."""

import sys

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces

from qframe.actions import make_action_space
from qframe.actions.gymnasium_spaces import action_of, choices
from qframe.cli.main import main
from qframe.envs import Entry, GymnasiumEnvs, Pixels
from qframe.envs.wrappers import JointActions
from qframe.networks import make_encoder


class Shown(gym.Env):
    """Observations of any space, drawn from it."""

    action_space = spaces.Discrete(2)

    def __init__(self, space, action_space=None):
        self.observation_space, self.action_space = space, action_space or self.action_space

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return self.observation_space.sample(), {}

    def step(self, action):
        assert self.action_space.contains(action), action
        self.taken = action
        return self.observation_space.sample(), 0.0, False, False, {}


def test_an_entry_becomes_the_observation_at_any_depth():
    more = spaces.Tuple([spaces.Discrete(3), spaces.Box(0, 9, (4,))])
    inner = spaces.Dict({"at": spaces.Box(0, 1, (2,)), "more": more})
    env = Entry(Shown(inner), "more.1")
    assert env.observation_space == spaces.Box(0, 9, (4,))
    assert env.reset(seed=0)[0].shape == (4,)
    with pytest.raises(ValueError, match="the observation has no entry 'less'; its entries are at, more"):
        Entry(Shown(inner), "less")


@pytest.mark.parametrize(
    "space",
    [
        spaces.Box(0, 255, (10, 12, 3), np.uint8),
        spaces.Box(0, 255, (3, 10, 12), np.uint8),
        spaces.Box(0, 1, (10, 12, 1), np.float32),
        spaces.Box(-1, 1, (10, 12), np.float64),
        spaces.Box(0, 255, (10, 12, 4), np.uint8),
    ],
)
def test_any_picture_becomes_frames_of_bytes_with_the_newest_last(space):
    env = Pixels(Shown(space), size=6, grey=True, stack=2)
    assert env.observation_space == spaces.Box(0, 255, (2, 6, 6), np.uint8)
    first, _ = env.reset(seed=0)
    assert first.dtype == np.uint8
    assert not first[0].any()
    second = env.step(0)[0]
    np.testing.assert_array_equal(second[0], first[1])
    assert first[1].any()


def test_pictures_keep_their_colours_size_and_range():
    picture = np.zeros((4, 4, 3), np.float32)
    picture[0, 0], picture[..., 2] = 1.0, 0.5
    env = Pixels(Shown(spaces.Box(0, 1, (4, 4, 3))), size=None, grey=False, stack=1)
    shown = env.observation(picture)
    assert shown.shape == (3, 4, 4)
    assert shown[:, 0, 0].tolist() == [255, 255, 128]
    assert shown[:, 3, 3].tolist() == [0, 0, 128]
    grey = Pixels(Shown(spaces.Box(0, 255, (2, 2, 3), np.uint8)), size=1, stack=1)
    assert grey.observation(np.array([[[255, 0, 0], [0, 0, 0]], [[0, 0, 0], [0, 0, 0]]], np.uint8)).item() == 19
    with pytest.raises(ValueError, match="expected a picture .* choose one with qframe.envs.Entry"):
        Pixels(Shown(spaces.Dict({"image": spaces.Box(0, 1, (4, 4))})))


def test_groups_of_discrete_actions_are_branches():
    pedals = spaces.Tuple([spaces.MultiBinary(2), spaces.MultiDiscrete([3, 2])])
    space = spaces.Dict({"gear": spaces.Discrete(12, start=-1), "pedals": pedals})
    assert choices(space) == ((12, 2, 2, 3, 2), (-1, 0, 0, 0, 0))
    env = JointActions(Shown(spaces.Discrete(2), space))
    assert env.action_space == spaces.MultiDiscrete([12, 2, 2, 3, 2], start=[-1, 0, 0, 0, 0])
    env.reset(seed=0)
    env.step(np.array([-1, 1, 0, 2, 1]))
    assert env.env.taken["gear"] == -1
    assert [part.tolist() for part in env.env.taken["pedals"]] == [[1, 0], [2, 1]]
    assert choices(spaces.Dict({"a": spaces.Discrete(2), "b": spaces.Box(0, 1)})) == ((), ())
    assert action_of(spaces.Discrete(3, start=4), [5]) == 5


def test_small_joint_spaces_are_enumerated_by_auto_and_large_ones_are_branches():
    assert make_action_space(spaces.MultiDiscrete([8, 8]), encoding="auto").factors == (8, 8)
    assert make_action_space(spaces.MultiDiscrete([8, 9]), encoding="auto").is_joint
    assert make_action_space(spaces.MultiBinary(2), encoding="auto", joint="sum").is_joint
    assert make_action_space(spaces.MultiBinary(2), encoding="auto", max_enumerated=3).is_joint


def test_bounded_integers_of_a_dict_are_scaled_to_the_unit_interval():
    encoder = make_encoder(spaces.Box(np.array([-5, 0]), np.array([15, 1000]), dtype=np.int64))
    assert encoder(torch.tensor([[-5, 1000], [15, 500]])).tolist() == [[0.0, 1.0], [1.0, 0.5]]
    free = make_encoder(spaces.Box(-(2**31), 2**31 - 1, (1,), np.int32))
    assert free(torch.tensor([[7]])).tolist() == [[7.0]]


CLASSES = """
import gymnasium as gym, numpy as np
from gymnasium import spaces

class Room(gym.Env):
    metadata = None
    observation_space, action_space = spaces.Box(0, 1, (1,)), spaces.Discrete(2)
    def __init__(self, shape: tuple[int, int] = (1, 1), weights: np.ndarray | None = None, config=None, masked=False):
        self.metadata, self.masked = None, masked
        assert isinstance(shape, tuple)
        assert weights is None or isinstance(weights, np.ndarray)
        assert config is None or isinstance(config["shape"], tuple)
    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.t = 0
        return np.zeros(1, np.float32), self.info()
    def step(self, action):
        self.t += 1
        return np.zeros(1, np.float32), 1.0, self.t == 5, False, self.info()
    def info(self):
        return {"action_mask": np.full(2, self.t < 3)} if self.masked else {}

class Needs(Room):
    def __init__(self, size):
        pass

class Several(Room):
    def step(self, action):
        observation, _, *ends = super().step(action)
        return observation, np.ones(2), *ends

class Other(Room):
    observation_space = spaces.Box(0, 255, (1,), np.uint8)

class Continuous(Room):
    action_space = spaces.Box(-1, 1, (2,))

def make(masked=False):
    return Room(masked=masked)

def register():
    gym.register("qframe-late/Room-v0", Room)
"""


@pytest.fixture
def rooms(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "rooms.py").write_text(CLASSES)
    yield
    sys.modules.pop("rooms", None)
    gym.registry.pop("qframe-late/Room-v0", None)


def check(capfd, *words):
    status = main(["check", "env=gymnasium", "--trust", "rooms", "--trust", "numpy", *words])
    printed = "".join(capfd.readouterr())
    assert "Traceback" not in printed
    return status, printed


@pytest.mark.parametrize(
    "words",
    [
        ["env.id=rooms.Room", "env.kwargs={shape: [3, 4], weights: [1, 2], config: {shape: '(3, 4)'}}"],
        ["env.id=rooms.Room", "env.kwargs={weights: {_target_: numpy.array, object: [1, 2]}}"],
        ["env.id=rooms.make"],
        ["env.id=qframe-late/Room-v0", "env.register=rooms.register"],
    ],
)
def test_a_way_in_is_open(rooms, words, capfd):
    assert check(capfd, *words)[0] == 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["env.id=Roon-v0"], "an environment of another package is env.id=package:Id-v0 --trust package"),
        (["env.id=rooms:Roon-v0"], "nearest is 'Room'; rooms has Continuous, Needs, Other, Room, Several"),
        (["env.id=rooms.Needs"], "missing 1 required positional argument: 'size'"),
        (["env.id=rooms.Needs"], "; env.kwargs may hold size"),
        (["env.id=rooms.Several"], "several agents or objectives cannot be trained: weigh their rewards to one"),
        (["env.id=rooms.Other"], "add {_target_: DtypeObservation, dtype: float32} to env.wrappers"),
        (["env.id=rooms.Continuous"], "set action_space=discretized"),
        (["env.id=x", "env.register=rooms.none"], "env.register must name a function as package.function"),
    ],
)
def test_a_refusal_names_the_way_out(rooms, words, message, capfd):
    status, printed = check(capfd, *words)
    assert status == 2
    assert message in printed


def test_the_way_out_of_continuous_actions_and_of_another_type_is_one(rooms, capfd):
    assert check(capfd, "env.id=rooms.Continuous", "env.wrappers=[{_target_: DiscretizeAction, bins: 5}]")[0] == 0
    weighed = "env.wrappers=[{_target_: qframe.envs.WeighReward, weights: [1, 1]}]"
    assert weighed in check(capfd, "env.id=rooms.Several")[1]
    assert check(capfd, "env.id=rooms.Several", weighed)[0] == 0
    assert check(capfd, "env.id=rooms.Other", "env.wrappers=[{_target_: DtypeObservation, dtype: float32}]")[0] == 0


def test_check_says_where_the_mask_was_found(rooms, capfd):
    assert "; no action mask found" in check(capfd, "env.id=rooms.Room")[1]
    assert "; masked by info['action_mask']" in check(capfd, "env.id=rooms.Room", "env.kwargs.masked=true")[1]


@pytest.mark.parametrize(("no_legal", "length"), [("truncate", 3), ("all", 5)])
def test_a_mask_without_a_legal_action_ends_the_episode_or_allows_all(rooms, no_legal, length):
    envs = GymnasiumEnvs("rooms.Room", num_envs=1, vectorization="sync", kwargs={"masked": True}, no_legal=no_legal)
    episodes = envs.make(0)
    episodes.reset()
    steps = [episodes.step(np.zeros(1, np.int64)) for _ in range(length)]
    assert [bool(step.terminated | step.truncated) for step in steps] == [False] * (length - 1) + [True]
    assert bool(steps[-1].truncated) is (no_legal == "truncate")
    assert steps[-1].next_mask.all()
