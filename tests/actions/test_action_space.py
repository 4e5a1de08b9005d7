import numpy as np
import pytest
import torch
from gymnasium import spaces

from qframe.actions import Categorical, MultiCategorical, MultiOneHot, OneHot, make_action_space
from qframe.actions.action_space import encode_action
from qframe.actions.gymnasium_spaces import REFUSED


@pytest.mark.parametrize(
    ("encoding", "spec"),
    [("auto", Categorical(4)), ("categorical", Categorical(4)), ("one-hot", OneHot(4)), ("one_hot", OneHot(4))],
)
def test_discrete_round_trip(encoding, spec):
    space = spaces.Discrete(4, start=-2)
    actions = make_action_space(space, encoding=encoding)
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
    actions = make_action_space(spaces.Discrete(3, start=1), encoding="auto")
    taken = actions.to_env(torch.tensor([2, 0]))
    assert isinstance(taken, np.ndarray)
    assert taken.dtype == np.int64
    assert taken.tolist() == [3, 1]


def test_one_hot_layout():
    actions = make_action_space(spaces.Discrete(3), encoding="one-hot")
    assert actions.decode(torch.tensor([2, 0])).tolist() == [[0, 0, 1], [1, 0, 0]]
    assert actions.encode(torch.tensor([[0.0, 1.0, 0.0]])).tolist() == [1]
    assert encode_action("one_hot", torch.tensor([[False, True]])).tolist() == [1]
    with pytest.raises(ValueError, match="an index per choice"):
        encode_action("binary", torch.tensor([1]))


def test_an_action_that_the_environment_does_not_have_is_refused():
    with pytest.raises(ValueError, match="expected actions from 5 to 7, got 8"):
        make_action_space(spaces.Discrete(3, start=5), encoding="auto").from_env(8)


@pytest.mark.parametrize(
    "space",
    [
        spaces.Box(-1.0, 1.0, (2,)),
        spaces.Dict(a=spaces.Discrete(2)), spaces.Tuple([spaces.Discrete(2)]), spaces.Text(3),
        spaces.Sequence(spaces.Discrete(2)),
    ],
    ids=lambda space: type(space).__name__,
)
@pytest.mark.parametrize("encoding", ["auto", "one-hot"])
def test_other_spaces_are_refused_with_a_reason(space, encoding):
    with pytest.raises(ValueError, match="no encoding fits") as refusal:
        make_action_space(space, encoding=encoding)
    assert REFUSED[type(space).__name__] in str(refusal.value)
    assert str(space) in str(refusal.value)


def test_one_hot_on_a_box_says_what_the_space_is_and_which_encodings_fit():
    with pytest.raises(ValueError, match=r"action_space=one-hot does not fit the action space Box\(-1.0, 1.0, \(2,\)"):
        make_action_space(spaces.Box(-1.0, 1.0, (2,)), encoding="one-hot")


def test_an_encoding_that_does_not_fit_names_those_that_do():
    with pytest.raises(ValueError, match=r"does not fit Discrete\(3\); encodings that fit: auto, categorical, one_hot"):
        make_action_space(spaces.Discrete(3), encoding="binary")


def test_a_mistyped_encoding_names_the_nearest():
    with pytest.raises(ValueError, match="got 'categorial'; did you mean 'categorical'"):
        make_action_space(spaces.Discrete(3), encoding="categorial")


JOINT_SPACES = {
    "multi_discrete": (spaces.MultiDiscrete([2, 3]), (2, 3)),
    "starts": (spaces.MultiDiscrete([2, 3], start=[-1, 10]), (2, 3)),
    "matrix": (spaces.MultiDiscrete([[2, 3], [4, 2]]), (2, 3, 4, 2)),
    "multi_binary": (spaces.MultiBinary(3), (2, 2, 2)),
    "binary_matrix": (spaces.MultiBinary((2, 2)), (2, 2, 2, 2)),
}


@pytest.mark.parametrize(("space", "sizes"), JOINT_SPACES.values(), ids=JOINT_SPACES)
@pytest.mark.parametrize(
    ("encoding", "spec"),
    [("auto", MultiCategorical), ("multi-discrete", MultiCategorical), ("multi_one_hot", MultiOneHot)],
)
def test_joint_round_trip(space, sizes, encoding, spec):
    actions = make_action_space(space, encoding=encoding)
    assert actions.spec == spec(sizes)
    assert actions.num_actions == sum(sizes)
    generator = torch.Generator().manual_seed(0)
    index = torch.stack([torch.randint(n, (50,), generator=generator) for n in sizes], -1)
    assert actions.spec.is_in(actions.decode(index))
    assert torch.equal(actions.encode(actions.decode(index)), index)
    assert torch.equal(actions.from_env(actions.to_env(index)), index)
    assert all(space.contains(action) for action in actions.to_env(index))
    assert space.contains(actions.to_env(index[0]))
    assert torch.equal(actions.from_env(actions.to_env(index[0])), index[0])


@pytest.mark.parametrize(("space", "sizes"), JOINT_SPACES.values(), ids=JOINT_SPACES)
def test_enumerated_round_trip(space, sizes):
    actions = make_action_space(space, encoding="enumerated")
    count = int(np.prod(sizes))
    assert actions.spec == Categorical(count)
    taken = actions.to_env(torch.arange(count))
    assert len({action.tobytes() for action in taken}) == count
    assert all(space.contains(action) for action in taken)
    assert torch.equal(actions.from_env(taken), torch.arange(count))
    assert actions.from_env(taken[count - 1]).item() == count - 1


def test_an_enumerated_action_is_legal_where_all_its_choices_are():
    actions = make_action_space(spaces.MultiDiscrete([2, 3]), encoding="enumerated")
    mask = np.array([[True, False, True, False, True], [True, True, False, False, True]])
    assert actions.legal(mask).tolist() == [[1, 0, 1, 0, 0, 0], [0, 0, 1, 0, 0, 1]]


def test_too_many_joint_actions_are_not_enumerated():
    space = spaces.MultiBinary(12)
    with pytest.raises(ValueError, match=r"at most 1,024 joint actions to enumerate, got 4,096 \(2 · 2"):
        make_action_space(space, encoding="enumerated")
    assert make_action_space(space, encoding="enumerated", max_enumerated=4096).num_actions == 4096


def test_an_encoding_of_one_choice_does_not_fit_a_joint_space():
    expected = r"does not fit MultiBinary\(2\); encodings that fit: auto, multi_categorical, multi_one_hot, enumerated"
    for encoding in ("one-hot", "binary"):
        with pytest.raises(ValueError, match=expected):
            make_action_space(spaces.MultiBinary(2), encoding=encoding)
    with pytest.raises(ValueError, match="expected joint to be branching or sum, got 'mean'"):
        make_action_space(spaces.MultiBinary(2), encoding="auto", joint="mean")


def test_a_joint_action_out_of_range_is_refused():
    with pytest.raises(ValueError, match=r"expected actions of \[2, 3\] choices, got \[1, 3\]"):
        make_action_space(spaces.MultiDiscrete([2, 3]), encoding="auto").from_env(np.array([1, 3]))
