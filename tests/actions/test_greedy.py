import itertools

import numpy as np
import pytest
import torch

from qframe.actions import ActionSpace
from qframe.functional.action import lowest, mask_values

INF, NAN = torch.inf, torch.nan
SPACES = [
    ActionSpace("categorical"), ActionSpace("one-hot"), ActionSpace("mult-one-hot", (2, 4)),
    ActionSpace("multi-categorical", 3), ActionSpace("binary"),
]
DTYPES = [torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.int8, torch.int32, torch.int64]


def decide(space, value, mask=None):
    value = mask_values(value, mask)
    action = space.greedy_action(value, mask)
    return action.tolist(), space.chosen_value(value, action)


@pytest.mark.parametrize(
    ("space", "action", "chosen"),
    [
        (SPACES[0], 3, 5.0),
        (SPACES[1], [0, 0, 0, 1, 0, 0], 5.0),
        (SPACES[2], [0, 1, 0, 1, 0, 0], 7.0),
        (SPACES[3], [1, 0], 7.0),
        (SPACES[4], [0, 1, 0, 1, 1, 1], 14.0),
    ],
)
def test_rule_of_every_action_space(space, action, chosen):
    value = torch.tensor([-1.0, 2.0, 0.0, 5.0, 3.0, 4.0])
    assert decide(space, value) == (action, torch.tensor([chosen]))
    assert decide(space, value.expand(2, 1, 6))[0] == [[action], [action]]


@pytest.mark.parametrize("space", SPACES, ids=str)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_dtypes_are_kept_and_integers_work(space, dtype):
    value = torch.tensor([[-1, 2, 0, 5, 3, 4]]).to(dtype)
    mask = torch.tensor([True, True, False, False, True, True])
    action = space.greedy_action(value, mask)
    assert action.dtype == torch.int64
    assert space.chosen_value(mask_values(value, mask), action).dtype == dtype


@pytest.mark.parametrize("space", SPACES, ids=str)
def test_empty_batches_work(space):
    value = torch.zeros(0, 3, 6)
    action = space.greedy_action(value, torch.ones(0, 3, 6, dtype=torch.bool))
    assert action.shape[:2] == (0, 3)
    assert space.chosen_value(value, action).shape == (0, 3, 1)


@pytest.mark.parametrize("space", SPACES, ids=str)
def test_meta_device(space):
    value, mask = torch.zeros(2, 6, device="meta"), torch.ones(6, dtype=torch.bool, device="meta")
    action = space.greedy_action(value, mask)
    assert action.is_meta
    assert space.chosen_value(value, action).shape == (2, 1)


def test_ties_give_one_action_the_first():
    value = torch.zeros(4)
    assert decide(SPACES[0], value)[0] == 0
    assert decide(SPACES[1], value)[0] == [1, 0, 0, 0]
    assert decide(ActionSpace("mult-one-hot", 2), value)[0] == [1, 0, 1, 0]
    assert decide(ActionSpace("multi-categorical", 2), value)[0] == [0, 0]
    assert decide(SPACES[4], value)[0] == [0, 0, 0, 0]


@pytest.mark.parametrize("space", SPACES, ids=str)
def test_nan_gives_a_legal_action_and_a_nan_value(space):
    value = torch.tensor([[1.0, 2.0, NAN, 5.0, -INF, INF]])
    action = space.greedy_action(value)
    chosen = space.chosen_value(value, action)
    assert chosen.isnan().all()
    if space.encoding in ("one-hot", "mult-one-hot"):
        parts = action.split(space.sizes_of(6), -1)
        assert all(part.sum() == 1 and part.min() == 0 for part in parts)


@pytest.mark.parametrize("space", SPACES, ids=str)
def test_nan_on_a_masked_action_does_no_harm(space):
    value = torch.tensor([[1.0, 2.0, NAN, 5.0, 3.0, 4.0]])
    mask = torch.tensor([[True, True, False, True, True, True]])
    assert not decide(space, value, mask)[1].isnan().any()


def test_infinities_on_actions_not_chosen_never_make_nan():
    assert decide(SPACES[0], torch.tensor([-INF, 1.0]))[1].tolist() == [1.0]
    assert decide(SPACES[1], torch.tensor([-INF, 1.0, -INF]))[1].tolist() == [1.0]
    assert decide(ActionSpace("mult-one-hot", 2), torch.tensor([-INF, 1.0, 2.0, -INF]))[1].tolist() == [3.0]
    assert decide(SPACES[4], torch.tensor([-INF, 1.0]))[1].tolist() == [1.0]
    assert decide(SPACES[4], torch.tensor([INF, -INF]))[1].tolist() == [INF]


def test_a_legal_minus_infinity_beats_every_illegal_action():
    mask = torch.tensor([False, True, False])
    assert decide(SPACES[0], torch.tensor([9.0, -INF, INF]), mask)[0] == 1
    assert decide(SPACES[1], torch.tensor([NAN, -INF, INF]), mask)[0] == [0, 1, 0]
    assert decide(SPACES[0], torch.tensor([9.0, -INF, INF]), mask)[1].item() == -INF


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_a_row_with_no_legal_action_gives_index_0_and_the_lowest_number(dtype):
    value, mask = torch.tensor([1, 2, 3, 4]).to(dtype), torch.zeros(4, dtype=torch.bool)
    floor = torch.tensor([lowest(dtype)], dtype=dtype)
    for space, action in [
        (SPACES[0], 0), (SPACES[1], [1, 0, 0, 0]), (ActionSpace("mult-one-hot", 2), [1, 0, 1, 0]),
        (ActionSpace("multi-categorical", 2), [0, 0]),
    ]:
        assert decide(space, value, mask)[0] == action
        assert torch.equal(decide(space, value, mask)[1], floor)


def test_sums_of_lowest_numbers_are_clamped_to_it():
    value, mask = torch.tensor([1.0, 2.0, 3.0, 4.0]), torch.tensor([False, False, True, True])
    chosen = decide(ActionSpace("multi-categorical", 2), value, mask)[1]
    assert chosen.item() == torch.finfo(torch.float32).min
    value = torch.tensor([1, 2, 3, 4], dtype=torch.uint8)
    assert decide(ActionSpace("multi-categorical", 2), value, mask)[1].item() == 4


def test_sums_of_small_integers_stay_in_their_range():
    value = torch.tensor([100, 100], dtype=torch.int8)
    assert decide(SPACES[4], value)[1].item() == 127


def test_masked_bits_are_zero():
    value, mask = torch.tensor([3.0, 4.0, -1.0]), torch.tensor([False, True, True])
    assert decide(SPACES[4], value, mask) == ([0, 1, 0], torch.tensor([4.0]))


def test_binary_is_the_best_of_all_actions_by_the_additive_value():
    value = np.random.default_rng(0).normal(size=(20, 4))
    bits = np.array(list(itertools.product([0, 1], repeat=4)))  # [16, 4]
    best = (value @ bits.T).max(-1)
    action = SPACES[4].greedy_action(torch.from_numpy(value))
    chosen = SPACES[4].chosen_value(torch.from_numpy(value), action)
    np.testing.assert_allclose(chosen.squeeze(-1).numpy(), best)


def test_a_mask_that_is_not_boolean_is_refused():
    for space in SPACES:
        with pytest.raises(TypeError, match="boolean action mask"):
            space.greedy_action(torch.zeros(6), torch.ones(6))


@pytest.mark.parametrize("name", ["mult-one-hot", "multi-categorical"])
@pytest.mark.parametrize("var_nums", [4, (2, 3)])
def test_components_that_do_not_add_up_are_refused(name, var_nums):
    with pytest.raises(ValueError, match="add up"):
        ActionSpace(name, var_nums).greedy_action(torch.zeros(6))
