import numpy as np
import pytest
import torch
from gymnasium import spaces

from qframe.data import ActionSpace, Categorical, OneHot
from qframe.data.action_space import REFUSED, encode_action


@pytest.mark.parametrize(
    ("encoding", "spec"),
    [("auto", Categorical(4)), ("categorical", Categorical(4)), ("one-hot", OneHot(4)), ("one_hot", OneHot(4))],
)
def test_discrete_round_trip(encoding, spec):
    space = spaces.Discrete(4, start=-2)
    actions = ActionSpace.from_space(space, encoding)
    assert actions.spec == spec
    assert actions.num_actions == 4
    index = torch.arange(4)
    assert actions.spec.is_in(actions.decode(index))
    assert torch.equal(actions.encode(actions.decode(index)), index)
    assert torch.equal(actions.from_env(actions.to_env(index)), index)
    for i in range(4):
        taken = actions.to_env(torch.tensor(i))
        assert space.contains(taken)
        assert type(taken) is int
        assert taken == i - 2
        assert actions.from_env(taken).item() == i


def test_a_batch_of_indices_becomes_an_int64_array():
    actions = ActionSpace.from_space(spaces.Discrete(3, start=1))
    taken = actions.to_env(torch.tensor([2, 0]))
    assert isinstance(taken, np.ndarray)
    assert taken.dtype == np.int64
    assert taken.tolist() == [3, 1]


def test_one_hot_layout():
    actions = ActionSpace.from_space(spaces.Discrete(3), "one-hot")
    assert actions.decode(torch.tensor([2, 0])).tolist() == [[0, 0, 1], [1, 0, 0]]
    assert actions.encode(torch.tensor([[0.0, 1.0, 0.0]])).tolist() == [1]
    assert encode_action("one_hot", torch.tensor([[False, True]])).tolist() == [1]
    with pytest.raises(ValueError, match="one index per action"):
        encode_action("binary", torch.tensor([1]))


def test_an_action_that_the_environment_does_not_have_is_refused():
    with pytest.raises(ValueError, match="expected actions from 5 to 7, got 8"):
        ActionSpace.from_space(spaces.Discrete(3, start=5)).from_env(8)


@pytest.mark.parametrize(
    "space",
    [
        spaces.MultiDiscrete([2, 3]), spaces.MultiBinary(2), spaces.Box(-1.0, 1.0, (2,)),
        spaces.Dict(a=spaces.Discrete(2)), spaces.Tuple([spaces.Discrete(2)]), spaces.Text(3),
        spaces.Sequence(spaces.Discrete(2)),
    ],
    ids=lambda space: type(space).__name__,
)
@pytest.mark.parametrize("encoding", ["auto", "one-hot"])
def test_other_spaces_are_refused_with_a_reason(space, encoding):
    with pytest.raises(ValueError, match="no encoding fits") as refusal:
        ActionSpace.from_space(space, encoding)
    assert REFUSED[type(space).__name__] in str(refusal.value)
    assert str(space) in str(refusal.value)


def test_one_hot_on_a_box_says_what_the_space_is_and_which_encodings_fit():
    with pytest.raises(ValueError, match=r"action_space=one-hot does not fit the action space Box\(-1.0, 1.0, \(2,\)"):
        ActionSpace.from_space(spaces.Box(-1.0, 1.0, (2,)), "one-hot")


def test_an_encoding_that_does_not_fit_names_those_that_do():
    with pytest.raises(ValueError, match=r"does not fit Discrete\(3\); encodings that fit: auto, categorical, one-hot"):
        ActionSpace.from_space(spaces.Discrete(3), "binary")


def test_a_mistyped_encoding_names_the_nearest():
    with pytest.raises(ValueError, match="got 'categorial'; did you mean 'categorical'"):
        ActionSpace.from_space(spaces.Discrete(3), "categorial")
