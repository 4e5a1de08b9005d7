"""The greedy rule, the soft policy and taking."""

import pytest
import torch

from qframe.functional.action import greedy, lowest, mask_values, soft, take
from qframe.functional.dueling import dueling

INF = torch.inf
NAN = torch.nan


def test_ties_go_to_the_first_maximum():
    assert greedy(torch.tensor([[1.0, 1.0, 0.0], [0.0, 2.0, 2.0]])).tolist() == [0, 1]


@pytest.mark.parametrize(
    ("value", "mask", "expected"),
    [
        ([5.0, 1.0, 2.0], [False, True, True], 2),
        ([5.0, -INF, -INF], [False, True, True], 1),
        ([5.0, torch.finfo(torch.float32).min, -INF], [False, False, True], 2),
        ([NAN, 1.0, 2.0], [False, True, True], 2),
        ([0.0, NAN, 2.0], [True, True, True], 1),
        ([3.0, 4.0, 5.0], [False, False, False], 0),
        ([INF, 0.0, 1.0], [False, True, False], 1),
    ],
)
def test_a_masked_action_is_never_chosen_while_a_legal_one_exists(value, mask, expected):
    assert greedy(torch.tensor(value), torch.tensor(mask)).item() == expected


def test_greedy_takes_integer_values_and_empty_batches():
    assert greedy(torch.tensor([3, 7, 7]), torch.tensor([True, False, True])).item() == 2
    assert greedy(torch.zeros(0, 3), torch.ones(3, dtype=torch.bool)).shape == (0,)


def test_a_mask_that_is_not_boolean_is_refused():
    with pytest.raises(TypeError, match="boolean action mask .* got torch.int64"):
        greedy(torch.zeros(2), torch.tensor([1, 0]))


def test_masked_values_carry_the_lowest_finite_number_of_their_dtype():
    for dtype in (torch.float16, torch.float32, torch.float64, torch.int32):
        masked = mask_values(torch.ones(2, dtype=dtype), torch.tensor([True, False]))
        assert masked.dtype is dtype
        assert masked[1].item() == lowest(dtype)


def test_the_soft_policy_is_the_softmax_over_legal_actions():
    policy = soft(torch.tensor([0.0, torch.log(torch.tensor(3.0)), 9.0]), 1.0, torch.tensor([True, True, False]))
    torch.testing.assert_close(policy.prob, torch.tensor([0.25, 0.75, 0.0]))
    torch.testing.assert_close(policy.log_prob.exp(), torch.tensor([0.25, 0.75, 1.0]))


def test_a_low_temperature_makes_the_soft_policy_greedy():
    assert soft(torch.tensor([1.0, 2.0]), 0.01).prob.tolist() == pytest.approx([0.0, 1.0])


def test_take_picks_the_vector_of_the_indexed_action():
    x = torch.arange(12.0).view(2, 3, 2)
    assert take(x, torch.tensor([2, 0])).tolist() == [[4.0, 5.0], [6.0, 7.0]]


def test_dueling_values_average_to_the_state_value():
    q = dueling(torch.tensor([[4.0]]), torch.tensor([[[1.0], [2.0], [6.0]]]))
    assert q.flatten().tolist() == [2.0, 3.0, 7.0]
    assert q.mean().item() == 4.0


def test_actions_are_the_last_dimension_however_many_batch_dimensions_there_are():
    value = torch.tensor([[[0.0, 1.0, 2.0], [5.0, 4.0, 3.0]]])  # [1, 2, 3]
    assert greedy(value).tolist() == [[2, 0]]
    assert greedy(value, torch.tensor([False, True, True])).tolist() == [[2, 1]]


def test_the_soft_policy_is_finite_for_large_values_and_small_temperatures():
    policy = soft(torch.tensor([3e38, 1e38, -3e38]), 1e-3)
    assert policy.prob.tolist() == [1.0, 0.0, 0.0]
    assert policy.log_prob.isfinite().all()


def test_the_soft_policy_of_a_row_with_no_legal_action_is_zero():
    policy = soft(torch.tensor([1.0, 2.0]), 1.0, torch.tensor([False, False]))
    assert policy.prob.tolist() == policy.log_prob.tolist() == [0.0, 0.0]


def test_dueling_values_leave_padding_out_of_the_mean():
    state, advantage = torch.tensor([[10.0], [20.0]]), torch.tensor([[[1.0], [3.0], [99.0]], [[2.0], [4.0], [9.0]]])
    real = torch.tensor([[True, True, False], [True, True, True]])
    q = dueling(state, advantage, real).squeeze(-1)
    assert q[0, :2].tolist() == [9.0, 11.0]
    assert q[1].tolist() == [17.0, 19.0, 24.0]
