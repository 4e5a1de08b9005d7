"""Box actions in bins: values, conversions and refusals."""

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces

from qframe.actions import make_discretized_space
from qframe.envs import BoundAction

PLANE = spaces.Box(np.array([-1, -2], np.float32), np.array([1, 2], np.float32))


@pytest.mark.parametrize(
    ("bins", "scheme", "values"),
    [
        (3, "ends", ((-1, 0, 1), (-2, 0, 2))),
        (2, "ends", ((-1, 1), (-2, 2))),
        ([3, 5], "ends", ((-1, 0, 1), (-2, -1, 0, 1, 2))),
        (2, "centres", ((-0.5, 0.5), (-1, 1))),
        ([1, 4], "centres", ((0,), (-1.5, -0.5, 0.5, 1.5))),
    ],
)
def test_values_of_every_dimension(bins, scheme, values):
    assert make_discretized_space(PLANE, bins=bins, scheme=scheme).values == values


@pytest.mark.parametrize("encoding", ["auto", "enumerated", "multi-categorical", "mult-one-hot"])
def test_the_environment_takes_the_values_of_an_index(encoding):
    space = make_discretized_space(PLANE, bins=[3, 2], encoding=encoding)
    pairs = [(a, b) for a in (-1.0, 0.0, 1.0) for b in (-2.0, 2.0)]
    index = space.from_env(np.array(pairs, np.float32))
    action = np.asarray(space.to_env(index))
    assert action.dtype == np.float32
    assert action.tolist() == [list(pair) for pair in pairs]
    assert torch.equal(space.from_env(np.array(pairs) + 0.3), index)  # the nearest value
    assert all(PLANE.contains(space.to_env(one)) for one in index)


def test_one_dimension_is_one_choice():
    space = make_discretized_space(spaces.Box(-2.0, 2.0, (1,)), bins=5)
    assert not space.is_joint
    assert str(space) == "categorical(5) of the values -2, -1, 0, 1, 2"
    assert np.asarray(space.to_env(torch.tensor([0, 3]))).tolist() == [[-2.0], [1.0]]


def test_several_dimensions_are_trained_by_their_mean():
    space = make_discretized_space(PLANE, bins=3, encoding="multi-categorical")
    assert (space.joint, space.sizes) == ("mean", (3, 3))
    assert str(space) == "multi-categorical(3, 3) of the values -1, 0, 1 and -2, 0, 2"


def test_whole_numbers_stay_whole():
    space = make_discretized_space(spaces.Box(0, 9, (1,), np.int32), bins=4)
    action = np.asarray(space.to_env(torch.tensor(1)))
    assert (action.tolist(), action.dtype) == ([3], np.int32)


@pytest.mark.parametrize(
    ("space", "options", "message"),
    [
        (spaces.Discrete(3), {"bins": 3}, "for Box actions, not Discrete"),
        (spaces.Box(-np.inf, np.inf, (2,)), {"bins": 3}, "no finite bounds to divide; bound them by env.wrappers="),
        (PLANE, {"bins": 1}, "each at least 2, the two ends, got 1"),
        (PLANE, {"bins": [3]}, "one number for all 2 dimensions"),
        (PLANE, {"bins": 0, "scheme": "centres"}, "each at least 1, got 0"),
        (PLANE, {"bins": 3, "scheme": "log"}, "expected scheme to be one of ends, centres, got 'log'"),
        (spaces.Box(0, 2, (1,), np.int32), {"bins": 9}, "fewer values than bins=9; lower action_space.bins"),
        (spaces.Box(-1, 1, (9,)), {"bins": 5, "encoding": "enumerated"}, "cannot enumerate 1,953,125 joint actions"),
        (PLANE, {"bins": 3, "joint": "product"}, "expected joint to be one of branching, sum, mean"),
    ],
    ids=lambda value: str(value) if isinstance(value, dict) else None,
)
def test_what_cannot_be_divided_is_refused_with_a_remedy(space, options, message):
    with pytest.raises(ValueError, match=message):
        make_discretized_space(space, **options)


class _Unbounded(gym.Env):
    observation_space = spaces.Box(0.0, 1.0, (1,))
    action_space = spaces.Box(-np.inf, np.inf, (2,))


def test_a_wrapper_bounds_actions():
    bounded = BoundAction(_Unbounded(), low=-1.0, high=3.0)
    assert bounded.action_space == spaces.Box(-1.0, 3.0, (2,))
    assert make_discretized_space(bounded.action_space, bins=2).values == ((-1.0, 3.0),) * 2
    with pytest.raises(ValueError, match="finite bounds with low below high, got low=1.0 and high=1.0"):
        BoundAction(_Unbounded(), low=1.0, high=1.0)
    with pytest.raises(ValueError, match="needs Box actions, not Discrete"):
        BoundAction(gym.make("CartPole-v1"), low=-1.0, high=1.0)
