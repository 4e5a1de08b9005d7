import numpy as np
import pytest
import torch
from gymnasium import spaces

from qframe.actions import (
    ActionSpace,
    Categorical,
    Composite,
    MultiCategorical,
    MultiOneHot,
    OneHot,
    Unbounded,
    as_action_space,
    make_action_space,
)
from qframe.actions.gymnasium_spaces import REFUSED

INDEX, ONE_HOT = ActionSpace("categorical", 3), ActionSpace("one-hot", 3)
INDICES, ONE_HOTS = ActionSpace("multi-categorical", (2, 3)), ActionSpace("mult-one-hot", (2, 3))
BITS = ActionSpace("binary", 2)
ENUMERATED = make_action_space(spaces.MultiDiscrete([2, 3], start=[1, 10]), encoding="enumerated")
VALUE = [1.0, 4.0, 7.0, 9.0, 8.0]
MASK = [True, True, True, False, True]


@pytest.mark.parametrize(
    ("space", "index", "action"),
    [
        (INDEX, [2, 0], [2, 0]),
        (ONE_HOT, [2, 0], [[0, 0, 1], [1, 0, 0]]),
        (INDICES, [[1, 2], [0, 1]], [[1, 2], [0, 1]]),
        (ONE_HOTS, [[1, 2], [0, 1]], [[0, 1, 0, 0, 1], [1, 0, 0, 1, 0]]),
        (BITS, [[1, 0], [0, 0]], [[1, 0], [0, 0]]),
        (ENUMERATED, [5, 0], [5, 0]),
    ],
    ids=str,
)
def test_an_index_and_an_action_are_the_same_choice_in_two_layouts(space, index, action):
    assert space.decode(torch.tensor(index)).tolist() == action
    for dtype in (torch.int64, torch.float32, torch.int8):
        assert space.encode(torch.tensor(action, dtype=dtype)).tolist() == index
    assert space.encode(torch.tensor(action)).dtype == space.decode(torch.tensor(index)).dtype == torch.int64


@pytest.mark.parametrize(
    ("space", "index", "legal_index", "action", "chosen"),
    [
        (ActionSpace("categorical", 5), 3, 4, 4, 8.0),
        (ActionSpace("one-hot", 5), 3, 4, [0, 0, 0, 0, 1], 8.0),
        (INDICES, [1, 1], [1, 2], [1, 2], 12.0),
        (ONE_HOTS, [1, 1], [1, 2], [0, 1, 0, 0, 1], 12.0),
    ],
    ids=str,
)
def test_the_greedy_choice_and_its_value(space, index, legal_index, action, chosen):
    value, mask = torch.tensor(VALUE), torch.tensor(MASK)
    assert space.greedy_index(value).tolist() == index
    assert space.greedy_index(value, mask).tolist() == legal_index
    assert space.greedy_index(value.expand(2, 3, 5), mask).tolist() == [[legal_index] * 3] * 2
    assert space.greedy_action(value, mask).tolist() == action
    assert space.chosen_value(value, torch.tensor(action)).tolist() == [chosen]


def test_bits_are_taken_where_their_value_is_positive_and_have_two_scores_as_indices():
    value = torch.tensor([-1.0, 2.0])
    assert BITS.greedy_action(value).tolist() == [0, 1]
    assert BITS.chosen_value(value, torch.tensor([0, 1])).tolist() == [2.0]
    assert BITS.greedy_index(torch.tensor([1.0, 0.0, 3.0, 5.0])).tolist() == [0, 1]
    assert (BITS.num_actions, BITS.width) == (2, 4)


@pytest.mark.parametrize(
    ("space", "index", "taken", "num_legal", "is_legal"),
    [
        (ActionSpace("categorical", 5), [3, 4], [[9.0], [8.0]], 4, [False, True]),
        (INDICES, [[1, 1], [0, 2]], [[4.0, 9.0], [1.0, 8.0]], 4, [False, True]),
        (ActionSpace("binary", 2), [[1, 1], [0, 0]], [[4.0, 9.0], [1.0, 7.0]], 2, [False, True]),
    ],
    ids=str,
)
def test_what_belongs_to_indices(space, index, taken, num_legal, is_legal):
    index = torch.tensor(index)
    value, mask = torch.tensor(VALUE[: space.width]).expand(2, -1), torch.tensor(MASK[: space.width]).expand(2, -1)
    assert space.taken(value, index).tolist() == taken
    assert space.num_legal(index, mask).tolist() == [num_legal] * 2
    assert space.num_legal(index, None).tolist() == [np.prod(space.known_sizes)] * 2
    assert space.is_legal(index, mask).tolist() == is_legal
    assert space.batch(index) == (2,)
    assert space.agree(index, index[:1].expand_as(index)).tolist() == [True, False]
    assert space.over_branches(torch.tensor([True, False])).shape == ((2, 1) if space.is_joint else (2,))


@pytest.mark.parametrize("space", [INDEX, ONE_HOT, INDICES, ONE_HOTS, BITS, ENUMERATED], ids=str)
def test_random_indices_are_legal_and_uniform_over_the_legal_ones(space):
    mask = torch.ones(space.width, dtype=torch.bool)
    mask[0] = False
    generator = torch.Generator().manual_seed(0)
    like = torch.zeros(6000, len(space.known_sizes), dtype=torch.int64)
    like = like if space.is_joint else like[:, 0]
    index = space.random_index(like, mask.expand(6000, -1), generator)
    assert index.shape == like.shape
    assert bool(space.is_legal(index, mask.expand(6000, -1)).all())
    for branch, size in enumerate(space.known_sizes):
        column = index[:, branch] if space.is_joint else index
        number = size - (branch == 0)
        assert column.unique(return_counts=True)[1].tolist() == pytest.approx([6000 / number] * number, rel=0.1)


def test_a_mask_is_checked_for_a_legal_action_in_every_branch():
    INDICES.check_mask(torch.tensor([[True, False, False, True, False]]))
    with pytest.raises(RuntimeError, match="environment 1 has no legal action"):
        INDICES.check_mask(torch.tensor([[True, False, False, True, False], [True, True, False, False, False]]))
    with pytest.raises(RuntimeError, match=r"environment \(0, 1\) has no legal action"):
        INDEX.check_mask(torch.tensor([[[True] * 3, [False] * 3]]))
    with pytest.raises(ValueError, match=r"mask with 5 entries per environment, got \[3\]"):
        INDICES.check_mask(torch.ones(3, dtype=torch.bool))
    with pytest.raises(TypeError, match="boolean"):
        INDEX.check_mask(torch.ones(3))


@pytest.mark.parametrize(
    ("space", "text", "num_actions", "width", "var_nums"),
    [
        (INDEX, "categorical(3)", 3, 3, None),
        (ONE_HOT, "one-hot(3)", 3, 3, None),
        (INDICES, "multi-categorical(2, 3)", 5, 5, (2, 3)),
        (ONE_HOTS, "mult-one-hot(2, 3)", 5, 5, (2, 3)),
        (BITS, "binary(2, 2)", 2, 4, None),
        (ENUMERATED, "categorical(6)", 6, 6, None),
    ],
    ids=str,
)
def test_sizes_of_every_space(space, text, num_actions, width, var_nums):
    assert str(space) == text
    assert (space.num_actions, space.width, space.var_nums) == (num_actions, width, var_nums)


def test_a_name_alone_leaves_the_sizes_to_the_values():
    space = ActionSpace("one_hot")
    assert str(space) == "one-hot"
    assert space.greedy_action(torch.tensor([0.0, 2.0, 1.0])).tolist() == [0, 1, 0]
    for unknown in (lambda: space.num_actions, lambda: space.decode(torch.tensor(0)), lambda: as_action_space(space)):
        with pytest.raises(ValueError, match="the number of actions of 'one-hot' is unknown"):
            unknown()


def test_branches_must_add_up_to_the_values_with_no_ragged_last_part():
    assert ActionSpace("mult-one-hot", 2).sizes_of(6) == (2, 2, 2)
    assert ActionSpace("mult-one-hot", (1, 2)).sizes_of(3) == (1, 2)
    assert ActionSpace("categorical").sizes_of(3) == (3,)
    for space in (ActionSpace("mult-one-hot", 4), ActionSpace("mult-one-hot", (2, 3))):
        with pytest.raises(ValueError, match="must add up to 6, the last dimension of the values"):
            space.sizes_of(6)


def test_parts_accept_an_action_space_a_spec_or_a_group_of_specs():
    assert as_action_space(INDICES) is INDICES
    assert as_action_space(OneHot(3)) == ONE_HOT
    assert as_action_space(Composite(a={"b": Categorical(3)}), ("a", "b")) == INDEX
    with pytest.raises(ValueError, match="expected the spec of a discrete action"):
        as_action_space(Unbounded(3))


@pytest.mark.parametrize(
    ("encoding", "spec"),
    [("auto", Categorical(4)), ("categorical", Categorical(4)), ("one-hot", OneHot(4)), ("one_hot", OneHot(4))],
)
def test_discrete_round_trip(encoding, spec):
    space = spaces.Discrete(4, start=-2)
    actions = make_action_space(space, encoding=encoding)
    assert actions.encoding == spec.encoding
    assert actions.num_actions == 4
    index = torch.arange(4)
    assert spec.is_in(actions.decode(index))
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


def test_what_the_environment_takes_has_its_own_numbers_shape_and_dtype():
    space = spaces.MultiDiscrete([[2, 3], [4, 2]], start=[[1, 0], [0, 5]])
    matrix = make_action_space(space, encoding="multi-categorical")
    taken = matrix.to_env(torch.tensor([[1, 2, 3, 0]]))
    assert taken.tolist() == [[[2, 2], [3, 5]]]
    assert matrix.from_env(taken).tolist() == [[1, 2, 3, 0]]
    bits = make_action_space(spaces.MultiBinary(3), encoding="multi-one-hot").to_env(torch.tensor([1, 0, 1]))
    assert (bits.tolist(), bits.dtype) == ([1, 0, 1], np.int8)
    assert ENUMERATED.to_env(torch.tensor(4)).tolist() == [2, 11]
    assert ENUMERATED.to_env(torch.tensor([0, 5])).tolist() == [[1, 10], [2, 12]]
    assert ENUMERATED.from_env(np.array([[1, 10], [2, 12]])).tolist() == [0, 5]


def test_a_mask_of_the_environment_is_that_of_indices_but_for_enumerated_actions():
    mask = np.array([True, False, True, False, True])
    assert INDICES.legal(mask) is mask
    assert ENUMERATED.legal(mask).tolist() == [True, False, True, False, False, False]


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
    [("multi_categorical", MultiCategorical), ("multi-discrete", MultiCategorical), ("multi_one_hot", MultiOneHot)],
)
def test_joint_round_trip(space, sizes, encoding, spec):
    actions = make_action_space(space, encoding=encoding)
    assert (actions.encoding, actions.sizes) == (spec.encoding, sizes)
    assert actions.num_actions == sum(sizes)
    generator = torch.Generator().manual_seed(0)
    index = torch.stack([torch.randint(n, (50,), generator=generator) for n in sizes], -1)
    assert spec(sizes).is_in(actions.decode(index))
    assert torch.equal(actions.encode(actions.decode(index)), index)
    assert torch.equal(actions.from_env(actions.to_env(index)), index)
    assert all(space.contains(action) for action in actions.to_env(index))
    assert space.contains(actions.to_env(index[0]))
    assert torch.equal(actions.from_env(actions.to_env(index[0])), index[0])


@pytest.mark.parametrize(("space", "sizes"), JOINT_SPACES.values(), ids=JOINT_SPACES)
def test_enumerated_round_trip(space, sizes):
    actions = make_action_space(space, encoding="enumerated")
    count = int(np.prod(sizes))
    assert (actions.encoding, actions.sizes, actions.choices) == ("categorical", (count,), sizes)
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
    with pytest.raises(ValueError, match=r"cannot enumerate 4,096 joint actions \(2 · 2 .*\), more than 1,024"):
        make_action_space(space, encoding="enumerated")
    assert make_action_space(space, encoding="enumerated", max_enumerated=4096).num_actions == 4096


def test_an_encoding_of_one_choice_does_not_fit_a_joint_space():
    expected = r"does not fit MultiBinary\(2\); encodings that fit: auto, multi_categorical, multi_one_hot, enumerated"
    for encoding in ("one-hot", "binary"):
        with pytest.raises(ValueError, match=expected):
            make_action_space(spaces.MultiBinary(2), encoding=encoding)
    with pytest.raises(ValueError, match="expected joint to be one of branching, sum, mean, got 'product'"):
        make_action_space(spaces.MultiBinary(2), encoding="auto", joint="product")  # pyright: ignore


def test_a_joint_action_out_of_range_is_refused():
    with pytest.raises(ValueError, match=r"expected actions of \[2, 3\] choices, got \[1, 3\]"):
        make_action_space(spaces.MultiDiscrete([2, 3]), encoding="auto").from_env(np.array([1, 3]))
